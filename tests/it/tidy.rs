//! The tidy check: rules about the tree that no compiler knows, as tests.
//!
//! Each rule is a function from the tree's files to a list of faults, so that it can be tried on a planted fault.
//! A rule that must be broken for a while gets a ratchet list with the reason, which may only shrink.

mod rules;
mod tree;

use rules::Fault;
use tree::Tree;

/// Files longer than the limit, with their length today. Empty, and meant to stay so.
const LONG_FILES: &[(&str, usize)] = &[];

#[test]
fn files_are_short() {
    clean(rules::long_files(&Tree::of_repository(), LONG_FILES));
}

#[test]
fn every_file_says_what_it_is() {
    clean(rules::files_without_introduction(&Tree::of_repository()));
}

#[test]
fn crates_depend_only_on_crates_before_them() {
    clean(rules::upward_dependencies(&Tree::of_repository()));
}

#[test]
fn only_plan_and_views_see_datafusion() {
    clean(rules::datafusion_outside_its_rooms(&Tree::of_repository()));
}

#[test]
fn every_invariant_names_its_test() {
    clean(rules::invariants_without_test(&Tree::of_repository()));
}

#[test]
fn the_core_reads_no_clock_file_socket_or_thread() {
    clean(rules::core_that_reaches_the_edge(&Tree::of_repository()));
}

#[test]
fn no_path_of_one_machine() {
    clean(rules::machine_paths(&Tree::of_repository()));
}

#[test]
fn nothing_is_left_unfinished_or_ignored() {
    clean(rules::unfinished(&Tree::of_repository()));
}

fn clean(faults: Vec<Fault>) {
    assert!(faults.is_empty(), "{} fault(s):\n{}", faults.len(), faults.join("\n"));
}

/// The rules on planted faults: each must be found, and its innocent neighbour left alone.
mod planted {
    use super::rules;
    use super::tree::Tree;

    fn only<'a>(faults: &'a [String], part: &str) -> &'a str {
        assert_eq!(faults.len(), 1, "{faults:#?}");
        assert!(faults[0].contains(part), "{faults:#?}");
        &faults[0]
    }

    #[test]
    fn a_long_file_is_found_and_a_stale_ratchet_too() {
        let tree = Tree::of(&[("crates/log/src/long.rs", &"// a line\n".repeat(601)), ("a.rs", &"//\n".repeat(600))]);
        only(&rules::long_files(&tree, &[]), "crates/log/src/long.rs: 601 lines");
        assert!(rules::long_files(&tree, &[("crates/log/src/long.rs", 601)]).is_empty());
        only(&rules::long_files(&tree, &[("crates/log/src/long.rs", 602)]), "lower the ratchet");
        let shrunk = Tree::of(&[("crates/log/src/long.rs", "//! Short now.\n")]);
        only(&rules::long_files(&shrunk, &[("crates/log/src/long.rs", 601)]), "take it off the ratchet");
    }

    #[test]
    fn a_file_without_introduction_is_found() {
        let tree = Tree::of(&[("a.rs", "use std::fmt;\n//! Too late.\n"), ("b.rs", "//! What and why.\n"), ("c.rs", "//!\n")]);
        let faults = rules::files_without_introduction(&tree);
        assert_eq!(faults.len(), 2, "{faults:#?}");
    }

    #[test]
    fn an_upward_dependency_is_found_in_every_spelling() {
        let stream = |line: &str| Tree::of(&[("crates/stream/Cargo.toml", line)]);
        for upward in [
            "[dependencies]\nws-log.workspace = true\n",
            "[dependencies]\nws-log = { path = \"../log\" }\n",
            "[dependencies.ws-log]\nworkspace = true\n",
            "[dev-dependencies]\nws-log.workspace = true\n",
            "[target.'cfg(unix)'.dependencies]\nws-log.workspace = true\n",
            "[dependencies]\nother = { package = \"ws-log\", path = \"../log\" }\n",
        ] {
            only(&rules::upward_dependencies(&stream(upward)), "ws-log");
        }
        let log = "[features]\nws-sim = []\n[dependencies]\nws-stream.workspace = true\n";
        assert!(rules::upward_dependencies(&Tree::of(&[("crates/log/Cargo.toml", log)])).is_empty());
        only(&rules::upward_dependencies(&Tree::of(&[("crates/new/Cargo.toml", "")])), "has no place in the order");
    }

    #[test]
    fn datafusion_outside_its_rooms_is_found() {
        let uses = "[dependencies]\ndatafusion-expr.workspace = true\n";
        let tree = Tree::of(&[("crates/plan/Cargo.toml", uses), ("crates/log/Cargo.toml", uses)]);
        only(&rules::datafusion_outside_its_rooms(&tree), "crates/log");
    }

    #[test]
    fn a_core_that_reaches_the_edge_is_found() {
        let core = |line: &str| Tree::of(&[("crates/stream/src/a.rs", line)]);
        for reach in ["let t = Instant::now();\n", "use std::time::SystemTime;\n", "std::fs::read(path)\n", "use tokio::sync::mpsc;\n"] {
            only(&rules::core_that_reaches_the_edge(&core(reach)), "crates/stream/src/a.rs:1");
        }
        only(&rules::core_that_reaches_the_edge(&Tree::of(&[("crates/stream/Cargo.toml", "tokio.workspace = true\n")])), "tokio");
        assert!(rules::core_that_reaches_the_edge(&core("//! No Instant, no std::fs.\nlet instantly = 1;\n")).is_empty());
        assert!(rules::core_that_reaches_the_edge(&Tree::of(&[("crates/log/src/a.rs", "Instant::now()\n")])).is_empty());
    }

    #[test]
    fn an_invariant_without_a_living_test_is_found() {
        let test = "//! Tests.\n#[test]\nfn commits_together() {}\nfn helper() {}\n";
        let check = |architecture: &str| rules::invariants_without_test(&Tree::of(&[("ARCHITECTURE.md", architecture), ("crates/stream/src/commit.rs", test)]));
        let named = "### Invariant 1 — One epoch\nWords.\nTest: `stream::commit::tests::commits_together`\n";
        assert!(check(named).is_empty(), "{:#?}", check(named));
        only(&check(&named.replace("together`", "apart`")), "commits_apart");
        only(&check(&named.replace("commits_together", "helper")), "helper");
        only(&check(&named.replace("stream::commit", "log::kafka")), "log::kafka");
        only(&check("### Invariant 1 — One epoch\nWords.\n"), "names no test");
        only(&check(&named.replace("Invariant 1", "Invariant 2")), "Invariant 1 is missing");
        only(&check("No invariants here.\n"), "no invariant");
        only(&rules::invariants_without_test(&Tree::of(&[])), "ARCHITECTURE.md");
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let home = ["/ho", "me/"].concat();
        let line = format!("data = \"{home}someone/data\"\n");
        only(&rules::machine_paths(&Tree::of(&[("docs/a.md", &line)])), "docs/a.md:1");
        let innocent = format!("see https://example.org{home}page and $X{home} and .cache{home}\n");
        assert!(rules::machine_paths(&Tree::of(&[("docs/a.md", &innocent)])).is_empty());
    }

    #[test]
    fn unfinished_code_and_ignored_tests_are_found() {
        for mark in [["to", "do!()"], ["unimple", "mented!(\"x\")"], ["#[ign", "ore]"], ["#[ign", "ore = \"slow\"]"]] {
            let code = format!("//! A file.\n    {}\n", mark.concat());
            only(&rules::unfinished(&Tree::of(&[("a.rs", &code)])), "a.rs:2");
        }
        assert!(rules::unfinished(&Tree::of(&[("a.rs", "//! A file.\n// nothing to do!\n")])).is_empty());
    }
}
