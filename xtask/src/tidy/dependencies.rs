//! Every dependency has a reason, above it.

use super::Findings;
use super::sources::Source;

const SECTION: &str = "[workspace.dependencies]";

pub fn reasons(sources: &[Source], findings: &mut Findings) {
    let Some(manifest) = sources.iter().find(|source| source.path == "Cargo.toml") else {
        return findings.file("Cargo.toml", "is missing");
    };
    let mut inside = false;
    let mut before = "";
    let mut seen = 0;
    for (index, line) in manifest.text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line == SECTION;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| inside && !line.starts_with('#')) {
            seen += 1;
            // Our own crates need none: ARCHITECTURE.md says why they are apart.
            if !value.contains("path =") && !before.starts_with('#') {
                findings.line(
                    &manifest.path,
                    index + 1,
                    &format!("{}: the reason for it must stand above it", name.trim()),
                );
            }
        }
        before = line;
    }
    if seen == 0 {
        findings.file(&manifest.path, &format!("has no {SECTION}; this rule would be blind"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let text = "[workspace.dependencies]\nown = { path = \"x\" }\n# Because.\nfine = \"1\"\nbare = \"2\"\n[lints]\nx = 1\n";
        let mut findings = Findings::default();
        reasons(&[Source::new("Cargo.toml", text)], &mut findings);
        assert_eq!(findings.0, ["Cargo.toml:5: bare: the reason for it must stand above it"]);
    }
}
