//! The rules of the tidy check, each from the tree to its faults.

use super::tree::Tree;

/// What is wrong and where, for a person to mend.
pub type Fault = String;

const LINES_MAX: usize = 600;

/// The crates in the order the data flows; each may depend only on those before it.
const ORDER: &[&str] = &["stream", "plan", "log", "runtime", "inference", "models", "routing", "views", "api", "sim", "city", "cli"];

const DATAFUSION_ROOMS: &[&str] = &["plan", "views"];

/// No Rust file over the limit, except those of the ratchet, which may not grow.
pub fn long_files(tree: &Tree, ratchet: &[(&str, usize)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.rust() {
        let lines = text.lines().count();
        let allowed = ratchet.iter().find(|(file, _)| *file == path).map(|&(_, lines)| lines);
        match allowed {
            None if lines > LINES_MAX => {
                faults.push(format!("{path}: {lines} lines, {LINES_MAX} at most: a file does one thing, split it"));
            }
            Some(allowed) if lines > allowed => {
                faults.push(format!("{path}: {lines} lines, {allowed} when it was put on the ratchet: it may not grow"));
            }
            Some(_) if lines <= LINES_MAX => faults.push(format!("{path}: short enough now, take it off the ratchet")),
            Some(allowed) if lines < allowed => faults.push(format!("{path}: {lines} lines now, lower the ratchet")),
            _ => {}
        }
    }
    faults
}

/// Every Rust file begins with a `//!` paragraph.
pub fn files_without_introduction(tree: &Tree) -> Vec<Fault> {
    let introduced = |text: &str| {
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        first.strip_prefix("//!").is_some_and(|words| !words.trim().is_empty())
    };
    tree.rust()
        .filter(|(_, text)| !introduced(text))
        .map(|(path, _)| format!("{path}: the first line is not a `//!` paragraph that says what the file is and why"))
        .collect()
}

/// No crate depends, in any table of its manifest, on a crate that stands after it.
pub fn upward_dependencies(tree: &Tree) -> Vec<Fault> {
    let place = |name: &str| ORDER.iter().position(|&other| other == name);
    let mut faults = Vec::new();
    for (name, manifest) in tree.manifests() {
        let Some(own) = place(name) else {
            faults.push(format!("crates/{name} has no place in the order of crates: give it one here and in the docs"));
            continue;
        };
        for dependency in dependencies(manifest) {
            let Some(other) = dependency.strip_prefix("ws-") else {
                continue;
            };
            if place(other).is_none_or(|other| other >= own) {
                faults.push(format!("crates/{name} depends on {dependency}, which does not stand before it"));
            }
        }
    }
    faults
}

/// DataFusion is seen by the planner (expressions) and the views (queries) alone.
pub fn datafusion_outside_its_rooms(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, manifest) in tree.manifests().filter(|(name, _)| !DATAFUSION_ROOMS.contains(name)) {
        for dependency in dependencies(manifest).into_iter().filter(|name| name.starts_with("datafusion")) {
            faults.push(format!("crates/{name} depends on {dependency}; only {} may", DATAFUSION_ROOMS.join(" and ")));
        }
    }
    faults
}

/// What the pure core must not name: the clock, files, sockets, threads, and the crates that reach them.
const EDGE_WORDS: &[&str] = &["Instant", "SystemTime", "std::fs", "std::net", "std::thread", "std::process", "std::env", "tokio", "rdkafka", "fjall"];

/// The core (`stream`) reads no clock, file, socket or thread: neither by the standard library nor by a crate of its
/// manifest that does (ARCHITECTURE.md, invariant 2). Tests are held to the same.
pub fn core_that_reaches_the_edge(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| path.starts_with("crates/stream/") && (path.ends_with(".rs") || path.ends_with("Cargo.toml"))) {
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let word = |word: &&&str| {
                line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
                    .any(|part| part.split("::").any(|p| p == **word) || part.contains(**word) && word.contains("::"))
            };
            if let Some(word) = EDGE_WORDS.iter().find(word) {
                faults.push(format!("{path}:{number}: the core names `{word}`: pass what it needs as an argument: {}", line.trim()));
            }
        }
    }
    faults
}

/// Names of the packages in all dependency tables of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_table = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            in_table = header.ends_with("dependencies");
            // `[dependencies.NAME]` is a table of its own.
            if let Some((_, name)) = header.rsplit_once("dependencies.") {
                found.push(name.to_owned());
            }
        } else if in_table && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            let renamed = line.split_once("package = \"").and_then(|(_, rest)| rest.split('"').next());
            found.push(renamed.unwrap_or(name).to_owned());
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// Every `### Invariant N — title` of ARCHITECTURE.md is followed by a line `Test: path::to::test`, and that test exists.
pub fn invariants_without_test(tree: &Tree) -> Vec<Fault> {
    let Some(text) = tree.file("ARCHITECTURE.md") else {
        return vec!["ARCHITECTURE.md does not exist: the invariants and their tests stand there".to_owned()];
    };
    let mut faults = Vec::new();
    let mut count = 0;
    for section in text.split("\n### ").map(|part| part.strip_prefix("### ").unwrap_or(part)) {
        let Some(heading) = section.strip_prefix("Invariant ").and_then(|rest| rest.lines().next()) else {
            continue;
        };
        count += 1;
        let number: String = heading.chars().take_while(char::is_ascii_digit).collect();
        if number != count.to_string() {
            faults.push(format!("ARCHITECTURE.md: Invariant {count} is missing or out of order (found: {heading})"));
            count = number.parse().unwrap_or(count);
        }
        let section = section.split("\n## ").next().unwrap_or_default();
        let tests: Vec<&str> = section
            .lines()
            .filter_map(|line| line.trim().trim_start_matches("* ").trim_start_matches("- ").strip_prefix("Test: "))
            .flat_map(|names| names.split(','))
            .map(|name| name.trim().trim_matches(['`', '.']))
            .collect();
        if tests.is_empty() {
            faults.push(format!("ARCHITECTURE.md: Invariant {heading} names no test (a line `Test: path::to::test`)"));
        }
        for test in tests.into_iter().filter(|test| !test_exists(tree, test)) {
            faults.push(format!("ARCHITECTURE.md: Invariant {heading} names `{test}`, and there is no such test"));
        }
    }
    if count == 0 {
        faults.push("ARCHITECTURE.md has no invariant (`### Invariant 1 — title`)".to_owned());
    }
    faults
}

/// Whether a function of this name carries a test attribute in a file whose place or modules fit the path before it.
fn test_exists(tree: &Tree, path: &str) -> bool {
    let mut modules: Vec<&str> = path.split("::").collect();
    let name = modules.pop().unwrap_or_default();
    tree.rust().any(|(file, text)| {
        let in_file = |module: &&str| {
            let module = module.strip_prefix("ws_").unwrap_or(module);
            // `tests` is what an inline module of tests is called everywhere.
            module == "tests" || file.split(['/', '.']).any(|part| part.replace('-', "_") == module) || text.contains(&format!("mod {module}"))
        };
        modules.iter().all(in_file) && has_test(text, name)
    })
}

fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declaration = format!("fn {name}(");
    lines.iter().enumerate().filter(|(_, line)| line.contains(&declaration)).any(|(at, _)| {
        lines[..at].iter().rev().take_while(|line| line.starts_with('#') || line.starts_with("//")).any(|line| line.starts_with("#[") && line.contains("test"))
    })
}

/// No absolute path of somebody's machine in any file.
pub fn machine_paths(tree: &Tree) -> Vec<Fault> {
    // Written in two parts, or this file would accuse itself.
    let roots = [["/ro", "ot/"], ["/wo", "rk/"], ["/ho", "me/"]].map(|parts| parts.concat());
    let absolute = |line: &str, at: usize| {
        let before = line[..at].chars().next_back();
        // After a name, a dot, a variable or `~` it is the middle of a relative path or of an address.
        !before.is_some_and(|before| before.is_alphanumeric() || "_-.~})/*".contains(before))
    };
    // One build folder may serve several checkouts: what a build wrote down may be gone when it runs.
    let built_in = ["env!(\"CARGO_", "MANIFEST_DIR\")"].concat();
    let mut faults = Vec::new();
    for (path, text) in tree.files() {
        for (number, line) in (1..).zip(text.lines()) {
            if line.contains(&built_in) {
                faults.push(format!("{path}:{number}: the checkout's place at build time; ask for it when running: {}", line.trim()));
            }
            if roots.iter().any(|root| line.match_indices(root.as_str()).any(|(at, _)| absolute(line, at))) {
                faults.push(format!("{path}:{number}: a path of one machine: {}", line.trim()));
            }
        }
    }
    faults
}

/// No placeholder for code, and no test that never runs.
pub fn unfinished(tree: &Tree) -> Vec<Fault> {
    let marks = [["to", "do!("], ["unimple", "mented!("], ["#[ign", "ore"]].map(|parts| parts.concat());
    let mut faults = Vec::new();
    for (path, text) in tree.rust() {
        for (number, line) in (1..).zip(text.lines()) {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                faults.push(format!("{path}:{number}: unfinished or never run: {}", line.trim()));
            }
        }
    }
    faults
}
