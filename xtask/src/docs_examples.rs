//! The examples of docs/api.md, run as they are printed.
//!
//! A fenced block in bash, python or javascript below the line `<!-- test -->` is an example; each is run by itself in
//! a folder of its own, in the order of the page. No example at all is a failure: then the page was not checked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Outcome, run, setup};

const PAGE: &str = "docs/api.md";
const MARK: &str = "<!-- test -->";
/// The longest one example may take; each makes a video or two of a second.
const EXAMPLE_LIMIT: Duration = Duration::from_secs(120);

/// One fenced block to run.
#[derive(Debug, PartialEq, Eq)]
pub struct Example {
    /// Of its first line within the page.
    line: usize,
    language: Language,
    code: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Bash,
    Python,
    JavaScript,
}

/// Reads the page's examples.
///
/// # Errors
/// Where the page is missing, has no example, or marks something that cannot be run.
pub fn read(root: &Path) -> Outcome<Vec<Example>> {
    let text = std::fs::read_to_string(root.join(PAGE)).map_err(|error| format!("{PAGE}: {error}"))?;
    let examples = parse(&text).map_err(|message| format!("{PAGE}: {message}"))?;
    if examples.is_empty() { Err(format!("{PAGE} has no block below a line `{MARK}`")) } else { Ok(examples) }
}

/// Runs the examples against a server, in order.
pub fn run(root: &Path, folder: &Path, examples: &[Example], url: &str, key: &str) -> Outcome {
    for example in examples {
        println!("-- {PAGE}:{} ({:?})", example.line, example.language);
        let folder = folder.join(format!("example-{}", example.line));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut command = command(root, &folder, example)?;
        command
            .env("LONGTAKE_URL", url)
            .env("LONGTAKE_API_KEY", key)
            .env("OPENAI_BASE_URL", format!("{url}/v1"))
            .env("OPENAI_API_KEY", key)
            .env("PATH", path_with_binaries(root)?);
        run::run_within(&mut command, EXAMPLE_LIMIT).map_err(|message| {
            format!("could not do what {PAGE}:{} shows: {message}\n{}", example.line, example.code)
        })?;
    }
    println!("{} examples of {PAGE} passed", examples.len());
    Ok(())
}

fn command(root: &Path, folder: &Path, example: &Example) -> Outcome<Command> {
    let write = |file: PathBuf, text: &str| {
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display())).map(|()| file)
    };
    let mut command = match example.language {
        Language::Bash => {
            let mut command = Command::new("bash");
            command.arg(write(folder.join("example.sh"), &format!("set -euo pipefail\n{}", example.code))?);
            command
        }
        Language::Python => {
            let mut command = Command::new(setup::venv(root).join("bin/python"));
            command.args(["-W", "ignore::DeprecationWarning"]).arg(write(folder.join("example.py"), &example.code)?);
            command
        }
        Language::JavaScript => {
            let mut command = Command::new("node");
            // Modules are looked for from the script's own folder upwards.
            let script = setup::node_folder(root).join(format!("example-{}.mjs", example.line));
            command.arg(write(script, &example.code)?);
            command
        }
    };
    command.current_dir(folder);
    Ok(command)
}

/// Examples call `longtake` by its name.
fn path_with_binaries(root: &Path) -> Outcome<std::ffi::OsString> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(target.join("debug")).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).map_err(|error| format!("PATH: {error}"))
}

fn parse(text: &str) -> Outcome<Vec<Example>> {
    let mut examples = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line.trim() != MARK {
            continue;
        }
        let fence = lines.by_ref().find(|(_, line)| !line.trim().is_empty());
        let language = fence.and_then(|(_, line)| line.trim().strip_prefix("```")).unwrap_or_default();
        let language = match language {
            "bash" => Language::Bash,
            "python" => Language::Python,
            "javascript" => Language::JavaScript,
            other => {
                return Err(format!(
                    "line {}: below the mark must be a block in bash, python or javascript, found `{other}`",
                    at + 1
                ));
            }
        };
        let line = fence.map_or(at, |(line, _)| line) + 2;
        let code: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
        examples.push(Example { line, language, code: code.join("\n") + "\n" });
    }
    Ok(examples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_blocks_are_examples() {
        let page =
            "# T\n```bash\nno\n```\n<!-- test -->\n\n```python\na = 1\nb\n```\n<!-- test -->\n```bash\ntrue\n```\n";
        let examples = parse(page).unwrap();
        assert_eq!(
            examples,
            [
                Example { line: 8, language: Language::Python, code: "a = 1\nb\n".to_owned() },
                Example { line: 13, language: Language::Bash, code: "true\n".to_owned() },
            ]
        );
    }

    #[test]
    fn a_mark_above_anything_else_is_an_error() {
        assert!(parse("<!-- test -->\n```json\n{}\n```\n").is_err());
        assert!(parse("<!-- test -->\nprose\n").is_err());
        assert!(parse("<!-- test -->\n").is_err());
    }
}
