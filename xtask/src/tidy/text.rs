//! Rules that look at lines: length of files, headers, unfinished work, machine paths, links.

use std::path::Path;

use super::Findings;
use super::modules::{is_root, join};
use super::sources::Source;

const MAX_FILE_LINES: usize = 600;
/// Files that hold code; prose and data may be longer.
const CODE: &[&str] = &["rs", "sql", "py", "mjs", "js", "ts", "css", "html", "sh", "c"];
/// First folders of paths that exist on one machine only.
const MACHINE_FOLDERS: &[&str] = &["home", "root", "Users", "work", "workspace"];
/// Spelt in two parts, or this file would find itself.
const UNFINISHED_WORDS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];
const UNFINISHED_CODE: &[&str] = &[concat!("todo", "!("), concat!("unimplemented", "!(")];

pub fn file_length(source: &Source, findings: &mut Findings) {
    let lines = source.text.lines().count();
    if CODE.contains(&source.extension()) && lines > MAX_FILE_LINES {
        findings.file(&source.path, &format!("has {lines} lines, allowed are {MAX_FILE_LINES}"));
    }
}

/// A crate root or `mod.rs` begins with what the room is for.
pub fn header(source: &Source, findings: &mut Findings) {
    if !is_root(&source.path) && source.name() != "mod.rs" {
        return;
    }
    let first = source.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
    if !first.is_some_and(|line| line.starts_with("//!")) {
        findings.file(&source.path, "needs a header of `//!`: what, how, what is absent");
    }
}

/// `expect` with a reason is the only way past a lint.
pub fn bare_allow(source: &Source, findings: &mut Findings) {
    let Some(scanned) = &source.scanned else { return };
    for mark in ["#[allow(", "#![allow("] {
        for (at, _) in scanned.code.match_indices(mark) {
            findings.line(&source.path, scanned.line_of(at), "use #[expect(…, reason = \"…\")]");
        }
    }
}

pub fn unfinished(source: &Source, findings: &mut Findings) {
    for (index, line) in source.text.lines().enumerate() {
        let word = UNFINISHED_WORDS.iter().any(|word| has_word(line, word));
        let code = source.is_rust() && UNFINISHED_CODE.iter().any(|code| line.contains(code));
        if word || code {
            findings.line(&source.path, index + 1, "unfinished work: finish it or file it");
        }
    }
}

pub fn machine_paths(source: &Source, findings: &mut Findings) {
    for (index, line) in source.text.lines().enumerate() {
        if MACHINE_FOLDERS.iter().any(|folder| has_path(line, &format!("/{folder}/"))) {
            findings.line(&source.path, index + 1, "a path of somebody's machine");
        }
    }
}

fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(is_letter)
            && !line[at + word.len()..].chars().next().is_some_and(is_letter)
    })
}

/// Whether an absolute path begins so; `docs/home/` and `example.com/home/` do not.
fn has_path(line: &str, start: &str) -> bool {
    let joins = |letter: char| letter.is_alphanumeric() || "._-~*}])>/".contains(letter);
    line.match_indices(start).any(|(at, _)| !line[..at].chars().next_back().is_some_and(joins))
}

/// Links of a Markdown page to files of the repository lead somewhere.
pub fn links(root: &Path, source: &Source, findings: &mut Findings) {
    if source.extension() != "md" {
        return;
    }
    let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    for (line, target) in local_links(&source.text) {
        if target.starts_with('/') {
            findings.line(&source.path, line, &format!("{target}: links are relative"));
        } else if !root.join(join(folder, &target)).exists() {
            findings.line(&source.path, line, &format!("{target} does not exist"));
        }
    }
}

/// Targets of `[text](target)` outside code, without those to other sites or within the page.
fn local_links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_fence = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        }
        if in_fence {
            continue;
        }
        // Every second part between backticks is code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for (at, _) in prose.match_indices("](") {
            let rest = &prose[at + 2..];
            let Some(end) = rest.find(')') else { continue };
            let target = rest[..end].split([' ', '#']).next().unwrap_or_default().trim_matches(['<', '>']);
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push((index + 1, target.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: fn(&Source, &mut Findings), path: &str, text: &str) -> usize {
        let mut findings = Findings::default();
        rule(&Source::new(path, text), &mut findings);
        findings.0.len()
    }

    #[test]
    fn long_code_is_found_and_long_prose_is_not() {
        let long = "x\n".repeat(MAX_FILE_LINES + 1);
        assert_eq!(found(file_length, "a.rs", &long), 1);
        assert_eq!(found(file_length, "a.md", &long), 0);
        assert_eq!(found(file_length, "a.rs", &"x\n".repeat(MAX_FILE_LINES)), 0);
    }

    #[test]
    fn roots_and_mod_files_need_a_header() {
        assert_eq!(found(header, "a/src/lib.rs", "use x;\n//! late"), 1);
        assert_eq!(found(header, "a/src/b/mod.rs", "// plain"), 1);
        assert_eq!(found(header, "a/src/lib.rs", "//! What.\nuse x;"), 0);
        assert_eq!(found(header, "a/src/b.rs", "use x;"), 0);
    }

    #[test]
    fn machine_paths_are_absolute() {
        let path = format!("see /{}/me/x", "home");
        assert_eq!(found(machine_paths, "a.md", &path), 1);
        assert_eq!(found(machine_paths, "a.md", "docs/home/x https://example.com/work/x ../root/x"), 0);
    }

    #[test]
    fn unfinished_work_and_bare_allows_are_found() {
        assert_eq!(found(unfinished, "a.md", UNFINISHED_WORDS[0]), 1);
        assert_eq!(found(unfinished, "a.md", &format!("{}S_OF_THEIRS", UNFINISHED_WORDS[0])), 0);
        assert_eq!(found(unfinished, "a.rs", &format!("{})", UNFINISHED_CODE[0])), 1);
        assert_eq!(found(bare_allow, "a.rs", "#[allow(dead_code)]\nfn x() {}\n// #[allow(x)]"), 1);
        assert_eq!(found(bare_allow, "a.rs", "#[expect(dead_code, reason = \"#[allow(x)]\")]"), 0);
    }

    #[test]
    fn links_are_taken_from_prose_only() {
        let text =
            "[a](x.md#part) [b](https://e.org) [c](#here) `[d](no.md)`\n```\n[e](no.md)\n```\n[f](dir/y.md \"title\")";
        assert_eq!(local_links(text), [(1, "x.md".to_owned()), (5, "dir/y.md".to_owned())]);
    }
}
