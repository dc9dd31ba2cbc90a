"""The book's own bit of Sphinx: what Jupyter Book's settings cannot say.

- each chapter offers its .md beside the .ipynb (tools/build_site.py lays both in _sources);
- an indented block in a docstring is an equation or code, and keeps its lines, as it does where the source is read;
- what a package passes on from one of its modules is described there, and a docstring may name it by the package;
- a function that was given its signature shows that one.
"""


def add_markdown_download(app, pagename, templatename, context, doctree):
    """Put the chapter's MyST text into the download menu."""
    if not str(context.get("sourcename", "")).endswith(".ipynb"):
        return
    for group in context.get("header_buttons", []):
        if group.get("label") == "download-buttons":
            group["buttons"].insert(
                1,
                {
                    "type": "link",
                    "url": context["pathto"](f"_sources/{pagename}.md", 1),
                    "text": ".md",
                    "tooltip": "Download MyST source file",
                    "icon": "fas fa-file",
                    "label": "download-markdown-button",
                },
            )


def keep_indented_blocks(app, what, name, obj, options, lines):
    """Make a block that is indented after an empty line a literal one, as if `::` stood before it."""
    kept: list[str] = []
    inside, last = False, ""
    for line in lines:
        indent = len(line) - len(line.lstrip())
        deeper = indent > len(last) - len(last.lstrip())
        starts = line.strip() and deeper and kept and not kept[-1].strip()
        if starts and not inside and not last.lstrip().startswith(("-", "*", "..", ":")) and not last.endswith("::"):
            kept += [" " * (len(last) - len(last.lstrip())) + "::", ""]
            inside = True
        if line.strip():
            inside = inside and indent > 0
            last = last if inside else line
        kept.append(line)
    lines[:] = kept


def follow_packages(app, env, node, contnode):
    """Lead to the one documented name that is the wanted one but for a module's name: networks.CELLS, cells.CELLS."""
    wanted = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not wanted:
        return None
    wanted = (wanted if wanted.startswith("emt_core.") else f"{node.get('py:module')}.{wanted}").split(".")
    domain, found = env.get_domain("py"), []
    for name in domain.objects:
        parts = name.split(".")
        if len(parts) == len(wanted) + 1 and any(parts[:i] + parts[i + 1 :] == wanted for i in range(len(parts))):
            found.append(name)
    if len(found) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], found[0], node, contnode)


def defaults_of_given_signatures(app, obj, bound_method):
    """Sphinx reads defaults as they are written in the source, where a signature that was given does not stand."""
    app.config.autodoc_preserve_defaults = not hasattr(obj, "__signature__")


def setup(app):
    """Register with Sphinx; 900 is after the theme has made its menus."""
    app.add_config_value("comments_config", {}, "html")  # Jupyter Book always sets it; sphinx_comments is not loaded
    app.connect("autodoc-process-docstring", keep_indented_blocks, priority=100)  # before napoleon's sections
    app.connect("autodoc-before-process-signature", defaults_of_given_signatures, priority=100)  # before Sphinx looks
    app.connect("missing-reference", follow_packages)
    app.connect("html-page-context", add_markdown_download, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
