#!/usr/bin/env python3
"""Prints the notices of the crates that the programs are linked with: name, version, licence, source, authors,
and the texts of their licences, each text once. Usage: notices.py PACKAGE... (of the workspace).

What cargo has resolved and unpacked is looked at; nothing is downloaded that a build has not downloaded."""

import json
import os
import pathlib
import subprocess
import sys

TEXTS = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "COPYRIGHT*", "UNLICENSE*")
# Sources of others inside a crate, as libbpf in libbpf-sys.
DEPTHS = ("", "*/", "*/*/")


def resolved():
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "metadata", "--locked", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def linked(metadata, names):
    """All packages that those of these names are linked with: neither tools of the build, nor of tests."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [id for id in metadata["workspace_members"] if packages[id]["name"] in names]
    if len(waiting) != len(names):
        sys.exit(f"error: not all of these are packages of the workspace: {' '.join(names)}")
    seen = set()
    while waiting:
        id = waiting.pop()
        if id in seen:
            continue
        seen.add(id)
        for dependency in nodes[id]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    found = [packages[id] for id in seen if packages[id]["source"] is not None]
    return sorted(found, key=lambda package: (package["name"], package["version"]))


def texts(package):
    root = pathlib.Path(package["manifest_path"]).parent
    paths = {path for depth in DEPTHS for text in TEXTS for path in root.glob(depth + text) if path.is_file()}
    for path in sorted(paths):
        yield path.relative_to(root), path.read_text(errors="replace").strip()


def main():
    numbers = {}
    for package in linked(resolved(), sys.argv[1:]):
        print(f"{package['name']} {package['version']}")
        print(f"  licence: {package['license'] or 'see its text'}")
        print(f"  source: {package['repository'] or package['homepage'] or package['name']}")
        if package["authors"]:
            print(f"  authors: {', '.join(package['authors'])}")
        for path, text in texts(package):
            number = numbers.setdefault(text, len(numbers) + 1)
            print(f"  {path}: text {number}")
        print()
    for text, number in numbers.items():
        print(f"{'=' * 34} text {number} {'=' * 34}\n\n{text}\n")


if __name__ == "__main__":
    main()
