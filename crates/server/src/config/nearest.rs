//! What to say about a word nobody knows.

pub use longtake_providers::nearest::nearest;

/// `; did you mean X?`, or `; known: …` where nothing is near.
pub fn suggestion(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("; did you mean {near}?"),
        None => format!("; known: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["concurrency", "max_owned", "ttl_secs"];
        assert_eq!(suggestion("ttl_sec", &known), "; did you mean ttl_secs?");
        assert_eq!(suggestion("x", &known), "; known: concurrency, max_owned, ttl_secs");
    }
}
