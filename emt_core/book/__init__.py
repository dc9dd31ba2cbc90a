"""What only chapters import: claims, intervals, figures, explorers."""
