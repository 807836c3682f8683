"""Hook that adds files from outside ``docs/`` to the site and rewrites links between repository files.

Links in the sources are relative to the file's place in the repository, as a Git host needs them. The hook points them
to the site's page, or to the repository (``repo_url``) for other files. Without ``repo_url`` it removes the link.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
TAKEN = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "USE_POLICY.md": "use-policy.md",
    "clients/python/README.md": "python-client.md",
    "clients/web/README.md": "browser-sdk.md",
    "engine/models/piano-gpt-s/MODEL_CARD.md": "models/piano-gpt-s.md",
    "engine/models/piano/MODEL_CARD.md": "models/piano.md",
    "engine/models/piano/drift.png": "models/piano-drift.png",
    "engine/models/speech-gpt-s/MODEL_CARD.md": "models/speech-gpt-s.md",
    "engine/models/speech/MODEL_CARD.md": "models/speech.md",
    "engine/models/speech/drift.png": "models/speech-drift.png",
    "examples/README.md": "prompts.md",
    "training/recipes/README.md": "recipes.md",
    "training/recipes/models.md": "recipes-models.md",
}
"""Files outside ``docs/`` that the site includes, with their paths on the site."""
STANDS_FOR = {"README.md": "index.md"}
"""Files that the site replaces by a page of its own."""
BRANCH = "main"

log = get_plugin_logger("repository")


class Links(Treeprocessor):
    """Markdown processor that rewrites the links and pictures of ``page``, which is set before each page."""

    page: Page | None = None

    def __init__(self, md: Markdown, config: MkDocsConfig) -> None:
        super().__init__(md)
        self._config = config

    def run(self, root: Element) -> None:
        for element in root.iter():
            name = {"a": "href", "img": "src"}.get(element.tag)
            if name and (address := element.get(name)) and self.page is not None:
                self._turn(element, name, address, self.page)

    def _turn(self, element: Element, name: str, address: str, page: Page) -> None:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc or not parts.path or parts.path.startswith("/"):
            return
        source = repository_path(page.file.src_uri)
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), parts.path))
        if not (ROOT / target).exists():
            log.warning(f"'{source}' links to '{address}', and there is no '{target}' in the repository.")
            return
        anchor = f"#{parts.fragment}" if parts.fragment else ""
        place = site_path(target)
        if place is not None and not (ROOT / target).is_dir() and not target.endswith((".json", ".jsonl")):
            element.set(name, posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".") + anchor)
        elif self._config.repo_url:
            kind = "tree" if (ROOT / target).is_dir() else "blob"
            element.set(name, f"{self._config.repo_url.rstrip('/')}/{kind}/{BRANCH}/{target}{anchor}")
        else:
            element.tag = "span"
            del element.attrib[name]


class RepositoryLinks(Extension):
    """Markdown extension that runs ``Links`` before MkDocs checks the links."""

    def __init__(self, config: MkDocsConfig) -> None:
        super().__init__()
        self._config = config

    def extendMarkdown(self, md: Markdown) -> None:
        md.treeprocessors.register(Links(md, self._config), "repository", 10)


def repository_path(site: str) -> str:
    """Return the repository path of a page of the site."""
    return next((path for path, taken in TAKEN.items() if taken == site), f"docs/{site}")


def site_path(path: str) -> str | None:
    """Return the site path of a repository file; None if the site does not have it."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return TAKEN.get(path) or STANDS_FOR.get(path)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.markdown_extensions.append(RepositoryLinks(config))  # type: ignore[arg-type]  # instances are accepted like names
    return config


def on_files(files: Files, /, *, config: MkDocsConfig) -> Files:
    for path, taken in TAKEN.items():
        files.append(File.generated(config, taken, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    Links.page = page
    return markdown


def on_serve(server: object, /, *, config: MkDocsConfig, builder: object) -> object:
    for path in TAKEN:
        server.watch(str(ROOT / path))  # type: ignore[attr-defined]
    return server
