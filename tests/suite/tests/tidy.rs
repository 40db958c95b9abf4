//! What lints cannot say: who may depend on whom, what pure code must not mention, that nothing lies around.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Tracked and new files, without what git ignores, relative to the root.
fn files(ending: &str) -> Vec<PathBuf> {
    let list = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files of the project");
    assert!(list.status.success(), "git ls-files failed");
    let mut files: Vec<PathBuf> = String::from_utf8(list.stdout)
        .unwrap()
        .lines()
        .filter(|f| f.ends_with(ending))
        .map(PathBuf::from)
        .filter(|f| root().join(f).exists())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no file ends with {ending}");
    files
}

fn text(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

#[test]
fn dependencies_point_in_the_direction_of_the_architecture() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("protocol", &[][..]),
        ("world", &[]),
        ("runtime", &["world"]),
        ("net", &["runtime", "protocol"]),
        ("store", &["runtime", "protocol"]),
        ("namesrv", &["runtime", "protocol", "net"]),
        ("client", &["runtime", "protocol", "net"]),
        ("broker", &["runtime", "protocol", "net", "store"]),
        ("server", &["runtime", "protocol", "net", "store", "namesrv", "broker", "client"]),
        ("lab", &["runtime", "protocol", "net", "store", "namesrv", "broker", "client", "world"]),
        ("scenarios", &["lab", "client", "protocol", "runtime"]),
        ("suite", &[]),
        ("golden", &["protocol"]),
        ("differential", &["protocol", "golden", "process"]),
        ("interop", &["client", "protocol", "runtime", "net", "golden", "process"]),
        ("process", &["client", "protocol", "runtime", "net", "golden"]),
        ("stress", &["runtime", "store", "protocol", "net"]),
        ("limit", &["golden", "process"]),
        // Takes plans, load, history and rules from the simulator's side, and processes from the tests' side.
        ("real", &["lab", "scenarios", "process", "golden", "protocol", "runtime"]),
    ]);
    let members: BTreeSet<&str> = allowed.keys().copied().collect();
    let mut seen = BTreeSet::new();
    for manifest in files("Cargo.toml") {
        let text = text(&manifest);
        let Some(name) =
            text.lines().find_map(|l| l.strip_prefix("name = \"")).map(|l| l.trim_end_matches('"'))
        else {
            continue; // the workspace itself
        };
        let (mut section, mut conditional) = (String::new(), false);
        for line in text.lines() {
            if line.starts_with('[') {
                section = line.to_owned();
                conditional = line.contains("cfg(madsim)");
            }
            let Some(dependency) = line.split([' ', '.', '=']).next().filter(|d| members.contains(d)) else {
                continue;
            };
            if !section.contains("dependencies") {
                continue;
            }
            if dependency == "world" && conditional && section.contains("dev-dependencies") {
                continue; // a crate's own tests may turn the world it runs on
            }
            assert!(allowed[name].contains(&dependency), "{name} must not depend on {dependency}");
            if dependency == "world" {
                assert!(conditional, "{name}: world is a dependency under cfg(madsim) only");
            }
            assert!(
                dependency != "madsim" || conditional,
                "{name}: madsim is a dependency under cfg(madsim) only"
            );
        }
        seen.insert(name.to_owned());
    }
    assert_eq!(seen.iter().map(String::as_str).collect::<BTreeSet<_>>(), members, "members of the workspace");
}

#[test]
fn pure_parts_name_no_runtime() {
    for file in files(".rs").iter().filter(|f| f.components().any(|c| c.as_os_str() == "state")) {
        for (number, line) in text(file).lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for word in ["async ", ".await", "runtime::", "clock::now", "Instant::now"] {
                assert!(!code.contains(word), "{}:{}: `{word}` in a pure part", file.display(), number + 1);
            }
        }
    }
}

#[test]
fn only_the_seam_and_drivers_name_tokio_or_madsim() {
    // The simulator program runs seeds on threads of its own; who listens to spans must tell threads apart.
    let may =
        ["system/runtime/", "sim/world/", "scenarios/src/program/", "system/net/tests/spans.rs", "tests/"];
    for file in files(".rs").iter().filter(|f| !may.iter().any(|m| f.starts_with(m))) {
        for (number, line) in text(file).lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for word in ["tokio::", "madsim::", "std::thread", "memmap2"] {
                assert!(!code.contains(word), "{}:{}: `{word}`", file.display(), number + 1);
            }
        }
    }
}

#[test]
fn every_file_begins_with_a_sentence() {
    for file in files(".rs") {
        let text = text(&file);
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! "), "{}: the first line says what the file is", file.display());
    }
}

#[test]
fn every_source_file_is_reachable() {
    let all = files(".rs");
    let mentioned: BTreeSet<String> = all
        .iter()
        .flat_map(|f| {
            text(f)
                .lines()
                .filter_map(|l| {
                    let l = l.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
                    l.strip_prefix("mod ").map(|m| m.trim_end_matches([';', ' ', '{']).to_owned())
                })
                .collect::<Vec<_>>()
        })
        .collect();
    for file in &all {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let parent = file.parent().unwrap();
        let is_root = matches!(stem, "lib" | "main" | "build")
            || parent.ends_with("tests") && !parent.ends_with("src/tests")
            || parent.ends_with("examples")
            || parent.ends_with("benches")
            || parent.ends_with("bin");
        let name = if stem == "mod" { parent.file_name().unwrap().to_str().unwrap() } else { stem };
        assert!(is_root || mentioned.contains(name), "{}: no `mod {name}` anywhere", file.display());
    }
}

#[test]
fn no_unfinished_work_and_nothing_huge() {
    let marks =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("unimpl", "emented!(")];
    for file in files(".rs") {
        let text = text(&file);
        for mark in marks {
            assert!(!text.contains(mark), "{}: {mark}", file.display());
        }
        assert!(text.len() <= 256 << 10, "{} is larger than 256 KiB", file.display());
    }
}

#[test]
fn every_scenario_is_listed() {
    let main = fs::read_to_string(root().join("scenarios/src/main.rs")).unwrap();
    let list = fs::read_to_string(root().join("scenarios/src/list.rs")).unwrap_or(main);
    for entry in fs::read_dir(root().join("scenarios/src")).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let source = fs::read_to_string(&path).unwrap_or_default();
        if source.contains("-> Scenario") && stem != "list" {
            assert!(list.contains(&format!("{stem}::")), "{stem} is no entry of the list of scenarios");
        }
    }
}

#[test]
fn generated_reports_name_their_command() {
    let reports = root().join("reports/example");
    let Ok(entries) = fs::read_dir(&reports) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        // The page of a failure has its plan and its history beside it.
        let path = if path.is_dir() { path.join("index.html") } else { path };
        let head: String = fs::read_to_string(&path).unwrap().chars().take(600).collect();
        assert!(
            head.contains("cargo sim"),
            "{}: the command that made it is not at its start",
            path.display()
        );
    }
}
