// How curves and dots are told apart: hues, and shapes that differ without them.

const HUES = [250, 45, 155, 340, 100, 300, 200, 20];

// Shapes of about equal area around (0, 0); none is another one's outline.
const SHAPES = [
  "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z",
  "M-4 -4H4V4H-4Z",
  "M0 -5.5L5.5 4H-5.5Z",
  "M0 -6L5 0L0 6L-5 0Z",
  "M0 5.5L5.5 -4H-5.5Z",
  "M-1.6 -5.5H1.6V-1.6H5.5V1.6H1.6V5.5H-1.6V1.6H-5.5V-1.6H-1.6Z",
  "M-5.5 -3.5L-3.5 -5.5L0 -2L3.5 -5.5L5.5 -3.5L2 0L5.5 3.5L3.5 5.5L0 2L-3.5 5.5L-5.5 3.5L-2 0Z",
  "M-5.5 -4H5.5L-5.5 4H5.5Z",
];
