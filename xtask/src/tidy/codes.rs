//! Every public error code has its page, and every page its code.

use std::collections::BTreeSet;

use super::Findings;
use super::functions::functions;
use super::sources::Source;

/// Where codes are made; a module may be one file or a folder.
const FILES: &[&str] = &["crates/server/src/http/error_code", "crates/core/src/failure"];
/// A function of this name returns them, …
const FUNCTION: &str = "code";
/// … or a macro called so is given them.
const MACRO: &str = "codes! {";
const PAGES: &str = "docs/errors/";
/// Pages about all codes.
const NOT_CODES: &[&str] = &["README", "index"];

pub fn pages(sources: &[Source], findings: &mut Findings) {
    let mut codes = BTreeSet::new();
    for file in FILES {
        let here: Vec<_> =
            sources.iter().filter(|source| is_of_module(&source.path, file)).flat_map(codes_in).collect();
        if here.is_empty() {
            findings.file(
                &format!("{file}.rs"),
                &format!("has no codes in a fn `{FUNCTION}` or in `{MACRO}`; this rule would be blind"),
            );
        }
        codes.extend(here);
    }
    for code in &codes {
        if !code.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_') {
            findings.file(code, "a code is lower case, digits and underscores");
        }
    }
    let written: BTreeSet<String> = sources.iter().filter_map(page_of).map(str::to_owned).collect();
    for code in codes.difference(&written) {
        findings.file(&format!("{PAGES}{code}.md"), "is missing: the code is public");
    }
    for page in written.difference(&codes).filter(|page| !NOT_CODES.contains(&page.as_str())) {
        findings.file(&format!("{PAGES}{page}.md"), "describes a code that does not exist");
    }
}

fn is_of_module(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn page_of(source: &Source) -> Option<&str> {
    source.path.strip_prefix(PAGES)?.strip_suffix(".md")
}

/// Text literals within the functions named `code` and the macro calls.
fn codes_in(source: &Source) -> Vec<String> {
    let Some(scanned) = &source.scanned else { return Vec::new() };
    let bodies = functions(scanned).into_iter().filter(|function| function.name == FUNCTION);
    let mut parts: Vec<(usize, usize)> = bodies.map(|body| (body.start, body.end)).collect();
    parts.extend(scanned.code.match_indices(MACRO).map(|(at, _)| (at, scanned.closing_brace(at + MACRO.len() - 1))));
    let within = |at: usize| parts.iter().any(|(start, end)| (*start..*end).contains(&at));
    scanned.strings.iter().filter(|(at, _)| within(*at)).map(|(_, text)| text.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILURE: &str = "impl Failure {\n pub fn code(&self) -> &'static str { match self { A => \"canceled\" } }\n fn other() { \"not_one\"; }\n}";

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        let mut findings = Findings::default();
        pages(&sources, &mut findings);
        findings.0
    }

    #[test]
    fn codes_and_pages_must_match() {
        let error = "macro_rules! codes { () => { fn code() {} } }\ncodes! {\n /// \"Doc\".\n X = \"not_found\", NOT_FOUND;\n}\n";
        let files = [
            ("crates/core/src/failure.rs", FAILURE),
            ("crates/server/src/http/error_code.rs", error),
            ("docs/errors/canceled.md", ""),
            ("docs/errors/README.md", ""),
            ("docs/errors/gone.md", ""),
        ];
        let found = found(&files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("docs/errors/not_found.md: is missing"), "{found:?}");
        assert!(found[1].starts_with("docs/errors/gone.md: describes"), "{found:?}");
    }

    #[test]
    fn a_file_without_codes_is_a_finding() {
        let found = found(&[("crates/core/src/failure.rs", FAILURE), ("docs/errors/canceled.md", "")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("blind"), "{found:?}");
    }
}
