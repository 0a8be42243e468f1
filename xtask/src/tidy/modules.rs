//! Every Rust file belongs to a crate: a root, or reached from one by `mod`.

use std::collections::{BTreeMap, BTreeSet};

use super::Findings;
use super::scan::Scanned;
use super::sources::Source;

pub fn orphans(sources: &[Source], findings: &mut Findings) {
    let files: BTreeMap<&str, &Source> =
        sources.iter().filter(|source| source.is_rust()).map(|source| (source.path.as_str(), source)).collect();
    let mut waiting: Vec<String> = files.keys().filter(|path| is_root(path)).map(|path| (*path).to_owned()).collect();
    for manifest in sources.iter().filter(|source| source.name() == "Cargo.toml") {
        waiting.extend(declared_roots(manifest));
    }
    let mut reached = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        let Some(source) = files.get(path.as_str()) else { continue };
        if !reached.insert(path) {
            continue;
        }
        if let Some(scanned) = &source.scanned {
            waiting.extend(children(&source.path, scanned));
        }
    }
    for path in files.keys().filter(|path| !reached.contains(**path)) {
        findings.file(path, "no `mod` leads here: it is never compiled");
    }
}

/// Whether cargo takes this file as the root of a crate by its place.
pub fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [.., "build.rs"] => true,
        [.., "src", "lib.rs" | "main.rs"] | [.., "src", "bin", _] | [.., "src", "bin", _, "main.rs"] => true,
        [.., "tests" | "benches" | "examples", _, "main.rs"] => !parts.contains(&"src"),
        [.., "tests" | "benches" | "examples", _] => !parts.contains(&"src"),
        _ => false,
    }
}

/// Roots that a manifest names with `path = "….rs"`.
fn declared_roots(manifest: &Source) -> Vec<String> {
    let folder = folder_of(&manifest.path);
    let lines = manifest.text.lines().filter_map(|line| line.trim().strip_prefix("path"));
    let values = lines.filter_map(|rest| rest.split('"').nth(1)).filter(|value| value.ends_with(".rs"));
    values.map(|value| join(folder, value)).collect()
}

/// Files that the `mod` declarations of a file may mean; also what it includes.
fn children(path: &str, scanned: &Scanned) -> Vec<String> {
    let folder = folder_of(path);
    let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs");
    let own_folder = if is_root(path) || stem == "mod" { folder.to_owned() } else { join(folder, stem) };
    let mut found = Vec::new();
    // Modules written within this file: where each ends, and its name.
    let mut within: Vec<(usize, &str)> = Vec::new();
    let mut words = scanned.words().peekable();
    while let Some(word) = words.next() {
        within.retain(|(end, _)| *end > word.at);
        let Some(name) = words.peek().filter(|_| word.text == "mod") else { continue };
        let behind = name.at + name.text.len();
        let next = scanned.code[behind..].trim_start();
        if next.starts_with('{') {
            let open = scanned.code.len() - next.len();
            within.push((scanned.closing_brace(open), name.text));
        } else if next.starts_with(';') {
            let names: Vec<&str> = within.iter().map(|(_, name)| *name).collect();
            let place = names.iter().fold(own_folder.clone(), |place, name| join(&place, name));
            found.push(join(&place, &format!("{}.rs", name.text)));
            found.push(join(&place, &format!("{}/mod.rs", name.text)));
        }
    }
    // `#[path = "x.rs"]` and `include!("x.rs")` count from the file's own folder.
    let named = scanned.strings.iter().filter(|(at, text)| text.ends_with(".rs") && names_a_file(scanned, *at));
    found.extend(named.map(|(_, text)| join(folder, text)));
    found
}

fn names_a_file(scanned: &Scanned, at: usize) -> bool {
    let before = scanned.code[..at].trim_end();
    before.ends_with("include!(") || before.trim_end_matches('=').trim_end().ends_with("#[path")
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Joins and resolves `..` and `.`.
pub fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        let mut findings = Findings::default();
        orphans(&sources, &mut findings);
        findings.0.iter().map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn a_file_without_a_mod_is_an_orphan() {
        let files = [
            ("a/src/lib.rs", "mod one;\n// mod lost;\nconst X: &str = \"mod lost;\";"),
            ("a/src/one.rs", "pub mod deep;"),
            ("a/src/one/deep.rs", ""),
            ("a/src/lost.rs", "mod also_lost;"),
            ("a/src/also_lost.rs", ""),
        ];
        assert_eq!(found(&files), ["a/src/also_lost.rs", "a/src/lost.rs"]);
    }

    #[test]
    fn roots_mod_files_inline_modules_and_paths_are_followed() {
        let files = [
            ("a/Cargo.toml", "[[bin]]\nname = \"x\"\npath = \"src/tools/x.rs\"\n"),
            ("a/src/main.rs", "mod http;\nmod inline { mod leaf; }\n#[path = \"odd/place.rs\"]\nmod place;"),
            ("a/src/http/mod.rs", "mod videos;"),
            ("a/src/http/videos.rs", ""),
            ("a/src/inline/leaf.rs", ""),
            ("a/src/odd/place.rs", ""),
            ("a/src/tools/x.rs", ""),
            ("a/tests/it/main.rs", "mod app;"),
            ("a/tests/it/app.rs", ""),
            ("a/build.rs", ""),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }
}
