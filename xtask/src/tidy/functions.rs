//! No function is longer than a screen.

use super::Findings;
use super::scan::Scanned;
use super::sources::Source;

const MAX_LINES: usize = 70;
/// A test tells a story from beginning to end.
const MAX_TEST_LINES: usize = 120;

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function<'a> {
    pub name: &'a str,
    /// From its `fn` to its closing brace.
    pub start: usize,
    pub end: usize,
}

pub fn lengths(source: &Source, findings: &mut Findings) {
    let Some(scanned) = &source.scanned else { return };
    let test_parts = test_parts(scanned);
    let in_test_file = source.path.contains("/tests/");
    for function in functions(scanned) {
        let is_test = in_test_file || test_parts.iter().any(|(start, end)| (*start..*end).contains(&function.start));
        let allowed = if is_test { MAX_TEST_LINES } else { MAX_LINES };
        let first = scanned.line_of(function.start);
        let lines = scanned.line_of(function.end) - first + 1;
        if lines > allowed {
            findings.line(
                &source.path,
                first,
                &format!("fn {} has {lines} lines, allowed are {allowed}", function.name),
            );
        }
    }
}

/// All functions with a body, nested ones too.
pub fn functions(scanned: &Scanned) -> Vec<Function<'_>> {
    let mut found = Vec::new();
    let mut words = scanned.words().peekable();
    while let Some(word) = words.next() {
        if word.text != "fn" {
            continue;
        }
        let Some(name) = words.peek() else { break };
        // A pointer type `fn(u8)` has no name right behind the keyword.
        if !scanned.code[word.at + 2..name.at].trim().is_empty() {
            continue;
        }
        if let Some(open) = body_start(scanned, name.at) {
            found.push(Function { name: name.text, start: word.at, end: scanned.closing_brace(open) });
        }
    }
    found
}

/// The brace that opens a body; `None` where a semicolon ends the signature.
fn body_start(scanned: &Scanned, from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in scanned.code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// Where modules stand that exist in tests only.
fn test_parts(scanned: &Scanned) -> Vec<(usize, usize)> {
    let marks = scanned.code.match_indices("#[cfg(test)]");
    marks
        .filter_map(|(at, _)| {
            body_start(scanned, at + "#[cfg(test)]".len()).map(|open| (at, scanned.closing_brace(open)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let mut findings = Findings::default();
        lengths(&Source::new(path, text), &mut findings);
        findings.0
    }

    fn long(name: &str, lines: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn seventy_lines_are_allowed_and_one_more_is_not() {
        assert_eq!(findings("src/a.rs", &long("fits", MAX_LINES)), Vec::<String>::new());
        let found = findings("src/a.rs", &format!("// a\n{}", long("grows", MAX_LINES + 1)));
        assert_eq!(found, ["src/a.rs:2: fn grows has 71 lines, allowed are 70"]);
    }

    #[test]
    fn tests_may_be_longer_but_not_endless() {
        let inside = |text: &str| format!("#[cfg(test)]\nmod tests {{\n{text}}}\n");
        assert!(findings("src/a.rs", &inside(&long("story", MAX_TEST_LINES))).is_empty());
        assert!(findings("crates/a/tests/it/b.rs", &long("story", MAX_TEST_LINES)).is_empty());
        assert_eq!(findings("src/a.rs", &inside(&long("epic", MAX_TEST_LINES + 1))).len(), 1);
        let behind = format!("{}{}", inside(""), long("not_a_test", MAX_TEST_LINES));
        assert_eq!(findings("src/a.rs", &behind).len(), 1);
    }

    #[test]
    fn signatures_and_pointer_types_are_no_functions() {
        let source = Source::new("a.rs", "trait T { fn a(x: [u8; 4]); fn b() -> fn(u8) { c } }\ntype F = fn(u8);\n");
        let names: Vec<_> =
            functions(source.scanned.as_ref().unwrap()).iter().map(|function| function.name.to_owned()).collect();
        assert_eq!(names, ["b"]);
    }
}
