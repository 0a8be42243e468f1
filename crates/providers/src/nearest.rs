//! The known word that a mistyped one is nearest to.

/// The nearest of `known` by edits, if it is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 1 + word.chars().count() / 3;
    let scored = known.into_iter().map(|candidate| (edits(word, candidate), candidate));
    scored.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// Longest word compared, in characters.
const MAX_CHARS: usize = 64;

/// Insertions, deletions and replacements that turn one word into the other.
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(MAX_CHARS).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, left) in one.chars().take(MAX_CHARS).enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, right) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["minimax", "openai_compatible", "sandbox"];
        assert_eq!(nearest("minimx", known), Some("minimax"));
        assert_eq!(nearest("openai-compatible", known), Some("openai_compatible"));
        assert_eq!(nearest("zzzzzzzzzz", known), None);
    }
}
