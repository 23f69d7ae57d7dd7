//! The direction of dependencies: leaf, core, edge, engine, program.
//!
//! Only dependencies that are compiled into a package count; its tests may use what they need.

use crate::no_objections;
use crate::tree::{self, File};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// Each package of ours and those of ours that it may depend on. A line may only name packages of
/// lines above it, so the order of the lines is the direction.
const ALLOWED: &[(&str, &[&str])] = &[
    // Leaf: formats and arithmetic.
    ("aoe", &[]),
    ("ata", &[]),
    ("raid", &[]),
    ("cec", &["aoe"]),
    // Core: the shelf and its language.
    ("shelf", &["aoe", "ata", "raid"]),
    ("console", &["aoe", "raid", "shelf"]),
    // Edge: what speaks to the kernel.
    ("disk", &["raid", "shelf"]),
    ("port", &["aoe"]),
    // Engine: core and edge joined on each CPU.
    ("engine", &["aoe", "ata", "raid", "shelf", "disk", "port"]),
    // The other end of the wire shares frames and ports with the shelf, and nothing else.
    ("initiator", &["aoe", "ata", "port"]),
    // Programs.
    (
        "ledged",
        &[
            "aoe", "ata", "raid", "cec", "shelf", "console", "disk", "port", "engine",
        ],
    ),
    ("cli", &["aoe", "cec", "console", "port"]),
    ("recover", &["aoe", "raid", "shelf", "disk"]),
    // Namespaces and machines, for tests and for benchmarks that want a wire.
    ("testbed", &["aoe", "port"]),
    ("probes", &[]),
    (
        "aoeload",
        &["aoe", "ata", "console", "port", "initiator", "probes"],
    ),
    (
        "corebench",
        &[
            "aoe", "ata", "raid", "shelf", "disk", "port", "engine", "testbed",
        ],
    ),
    // Of tests only: nobody's dependency.
    ("sim", &["aoe", "ata", "raid", "shelf"]),
    ("fuzzing", &["aoe", "raid", "cec", "shelf", "console"]),
    ("tidy", &[]),
    // Of packaging only.
    ("manual", &["aoe", "cec", "console"]),
];

/// What leaf and core packages may use of others: formats, numbers, text and errors. A logger, a runtime
/// or a door to the kernel is not among them.
const PURE: &[&str] = &[
    "bitflags",
    "crc32c",
    "hdrhistogram",
    "serde",
    "serde_json",
    "thiserror",
    "tui-input",
    "unicode-segmentation",
    "unicode-width",
    "uuid",
    "vte",
    "zerocopy",
];

/// The packages that neither do I/O nor know the time.
pub(crate) const PURE_PACKAGES: &[&str] = &["aoe", "ata", "raid", "cec", "shelf", "console"];

#[test]
fn packages_depend_only_on_what_lies_below_them() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut objections = Vec::new();
    for file in manifests() {
        let (package, dependencies) = read(&file);
        let Some(below) = allowed.get(package.as_str()) else {
            objections.push(format!(
                "{}: package {package} has no line in the table of tidy; add one where it belongs",
                file.name
            ));
            continue;
        };
        for dependency in dependencies {
            let ours = allowed.contains_key(dependency.as_str());
            if ours && !below.contains(&dependency.as_str()) {
                objections.push(format!("{}: {package} may not use {dependency}", file.name));
            }
            let pure = PURE_PACKAGES.contains(&package.as_str());
            if pure && !ours && !PURE.contains(&dependency.as_str()) {
                objections.push(format!(
                    "{}: {package} does no I/O and may not use {dependency}",
                    file.name
                ));
            }
        }
    }
    no_objections(&objections);
}

#[test]
fn the_table_of_packages_has_no_circles_and_no_leftovers() {
    let mut above: Vec<&str> = Vec::new();
    let present: Vec<String> = manifests().iter().map(|file| read(file).0).collect();
    for (package, below) in ALLOWED {
        let unknown: Vec<_> = below.iter().filter(|name| !above.contains(name)).collect();
        assert!(
            unknown.is_empty(),
            "{package} names {unknown:?} before its line"
        );
        assert!(
            present.iter().any(|name| name == package),
            "no package {package}"
        );
        above.push(package);
    }
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    let mut objections = Vec::new();
    for file in manifests() {
        let manifest: Table = file.text.parse().unwrap();
        let lints = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"));
        if lints != Some(&Value::Boolean(true)) {
            objections.push(format!("{}: no `[lints] workspace = true`", file.name));
        }
    }
    no_objections(&objections);
    let root = std::fs::read_to_string(tree::root().join("Cargo.toml")).unwrap();
    let root: Table = root.parse().unwrap();
    let level = &root["workspace"]["lints"]["rust"]["unsafe_code"];
    assert_eq!(level.as_str(), Some("deny"), "Cargo.toml: unsafe_code");
}

/// The manifests of the workspace's packages.
fn manifests() -> Vec<File> {
    let mut files = tree::files(&["Cargo.toml"]);
    files.retain(|file| file.package().is_some());
    files
}

/// Name and dependencies of a package, build scripts and platforms included.
fn read(file: &File) -> (String, Vec<String>) {
    let manifest: Table = file.text.parse().expect("a manifest is TOML");
    let name = &manifest["package"]["name"];
    let name = name.as_str().expect("a name is a string").to_owned();
    let platforms = manifest.get("target").and_then(Value::as_table);
    let platforms = platforms.into_iter().flat_map(Table::values);
    let platforms = platforms.filter_map(Value::as_table);
    let mut dependencies = Vec::new();
    for table in std::iter::once(&manifest).chain(platforms) {
        for kind in ["dependencies", "build-dependencies"] {
            let entries = table.get(kind).and_then(Value::as_table);
            for (key, value) in entries.into_iter().flatten() {
                let renamed = value.get("package").and_then(Value::as_str);
                dependencies.push(renamed.unwrap_or(key).to_owned());
            }
        }
    }
    (name, dependencies)
}
