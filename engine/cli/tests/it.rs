//! What the binary says of itself: its help, and the files generated from it.
#![allow(clippy::unwrap_used, reason = "a failing expectation is how a test fails")]

use std::process::Command;

/// What `refit ARGUMENTS` prints, knowing nothing of the machine.
fn refit(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_refit")).args(arguments).env_clear().env("COLUMNS", "100").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let commands = [
        "run",
        "check",
        "plan",
        "explain",
        "graph",
        "runs",
        "runs ls",
        "runs show",
        "runs diff",
        "runs rm",
        "get",
        "cache",
        "cache du",
        "cache verify",
        "cache gc",
        "config",
        "config show",
        "config get",
        "config set",
        "config unset",
        "schema",
        "doctor",
        "completions",
        "import",
        "new",
    ];
    let mut all = refit(&["--help"]);
    for command in commands {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = refit(&arguments);
        assert!(command.contains(' ') || help.contains("Examples:"), "`refit {command} --help` shows no example");
        all.extend(["\n===== refit ", command, "\n\n", &help]);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = refit(&["completions", shell]);
        assert!(script.contains("explain"), "{shell}");
    }
}

/// Without the kinds that run a model, the schema is another one.
#[cfg(feature = "llm")]
#[test]
fn the_committed_schema_is_the_one_of_this_source() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/pipeline.schema.json");
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        committed == refit(&["schema"]),
        "schemas/pipeline.schema.json is stale; mend it with `cargo run --release -- schema > schemas/pipeline.schema.json`"
    );
}
