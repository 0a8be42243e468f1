//! `cargo xtask tidy`: rules of this repository that no compiler checks. It is a test too.
//!
//! Reads every file once; each rule looks at the sources and adds what it finds, so that one run shows everything.
//! Rust is read by a scanner that knows comments, strings and braces; it does not parse.

mod codes;
mod dependencies;
mod functions;
mod modules;
mod scan;
mod sources;
mod text;

use std::path::Path;

use crate::Outcome;
use sources::{Source, collect};

/// What the rules found: one line each, with file and line where there is one.
#[derive(Default)]
pub struct Findings(Vec<String>);

impl Findings {
    /// Something wrong with a file as a whole.
    pub fn file(&mut self, path: &str, message: &str) {
        self.0.push(format!("{path}: {message}"));
    }

    /// Something wrong at a line, counted from 1.
    pub fn line(&mut self, path: &str, line: usize, message: &str) {
        self.0.push(format!("{path}:{line}: {message}"));
    }
}

pub fn run(root: &Path) -> Outcome {
    let sources = collect(root)?;
    let findings = check(root, &sources);
    if findings.0.is_empty() {
        println!("tidy: {} files, nothing to say", sources.len());
        return Ok(());
    }
    Err(format!("{} findings:\n  {}", findings.0.len(), findings.0.join("\n  ")))
}

fn check(root: &Path, sources: &[Source]) -> Findings {
    let mut findings = Findings::default();
    for source in sources {
        text::file_length(source, &mut findings);
        text::machine_paths(source, &mut findings);
        text::unfinished(source, &mut findings);
        text::links(root, source, &mut findings);
        if source.is_rust() {
            text::header(source, &mut findings);
            text::bare_allow(source, &mut findings);
            functions::lengths(source, &mut findings);
        }
    }
    modules::orphans(sources, &mut findings);
    codes::pages(sources, &mut findings);
    dependencies::reasons(sources, &mut findings);
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        run(root).unwrap();
    }
}
