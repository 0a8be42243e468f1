//! Reads Rust just enough: which bytes are code, which are comment, which are text.

/// A source with comments and literals blanked out, byte for byte, so that positions stay what they were.
pub struct Scanned {
    /// Code only; everything else is spaces, line ends are kept.
    pub code: String,
    /// String literals: position of the first byte within the quotes, and what stands there.
    pub strings: Vec<(usize, String)>,
}

/// One word of code and where it begins.
pub struct Word<'a> {
    pub at: usize,
    pub text: &'a str,
}

impl Scanned {
    /// Identifiers, keywords and numbers, in order.
    pub fn words(&self) -> impl Iterator<Item = Word<'_>> {
        let bytes = self.code.as_bytes();
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < bytes.len() && !is_word(bytes[at]) {
                at += 1;
            }
            let start = at;
            while at < bytes.len() && is_word(bytes[at]) {
                at += 1;
            }
            (start < at).then(|| Word { at: start, text: &self.code[start..at] })
        })
    }

    /// Position of the brace that closes the one at `open`; the end of the file where none does.
    pub fn closing_brace(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for (at, byte) in self.code.bytes().enumerate().skip(open) {
            match byte {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                _ => continue,
            }
            if depth == 0 {
                return at;
            }
        }
        self.code.len()
    }

    /// Line of a position, counted from 1.
    pub fn line_of(&self, at: usize) -> usize {
        self.code.as_bytes()[..at.min(self.code.len())].iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// Separates code from comments and literals.
pub fn scan(text: &str) -> Scanned {
    let bytes = text.as_bytes();
    let mut code = vec![b' '; bytes.len()];
    let mut strings = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => find(bytes, at, b"\n").unwrap_or(bytes.len()),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment_end(bytes, at),
            b'"' => {
                let end = quoted_end(bytes, at, b'"');
                strings.push(literal(text, at + 1, end.saturating_sub(1)));
                end
            }
            b'r' if !follows_word(bytes, at) && raw_hashes(bytes, at).is_some() => {
                let hashes = raw_hashes(bytes, at).unwrap_or_default();
                let start = at + 1 + hashes + 1;
                let closing = [b"\"".as_slice(), "#".repeat(hashes).as_bytes()].concat();
                let close = find(bytes, start, &closing).unwrap_or(bytes.len());
                strings.push(literal(text, start, close));
                (close + closing.len()).min(bytes.len())
            }
            b'\'' if is_char_literal(bytes, at) => quoted_end(bytes, at, b'\''),
            byte => {
                code[at] = if byte.is_ascii() { byte } else { b' ' };
                at += 1;
                continue;
            }
        };
        for position in at..end {
            if bytes[position] == b'\n' {
                code[position] = b'\n';
            }
        }
        at = end.max(at + 1);
    }
    Scanned { code: String::from_utf8_lossy(&code).into_owned(), strings }
}

fn literal(text: &str, start: usize, end: usize) -> (usize, String) {
    (start, text.get(start..end).unwrap_or_default().to_owned())
}

fn find(bytes: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(wanted.len()).position(|window| window == wanted).map(|offset| from + offset)
}

/// Block comments nest.
fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// The position behind the closing quote.
fn quoted_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// How many `#` stand between `r` and the quote of a raw string; `None` where it is none.
fn raw_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

/// `r` ends another word, unless that word is only the `b` or `c` of a raw byte or C string.
fn follows_word(bytes: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| bytes[before]) else { return false };
    let prefix = matches!(before, b'b' | b'c') && !(at >= 2 && is_word(bytes[at - 2]));
    is_word(before) && !prefix
}

/// Tells `'a'` from the lifetime `'a`.
fn is_char_literal(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at + 1) {
        Some(b'\\') => true,
        Some(byte) if byte.is_ascii() => bytes.get(at + 2) == Some(&b'\''),
        // A character of several bytes: never a lifetime of ours.
        Some(_) => true,
        None => false,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        scan(text).words().map(|word| word.text.to_owned()).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        assert_eq!(words("a // fn x {\n/* fn /* y */ z */ b"), ["a", "b"]);
        assert_eq!(words(r##"a("fn \" {", r#"fn " {"#, b"x", br"y\", '{', '\'', 'ä') c"##), ["a", "b", "b", "c"]);
        assert_eq!(words("fn f<'a>(x: &'a str) {}"), ["fn", "f", "a", "x", "a", "str"]);
    }

    #[test]
    fn strings_keep_their_text_and_positions_stay() {
        let scanned = scan("let x = \"one\";\nlet y = r#\"t\"wo\"#;\n");
        assert_eq!(scanned.strings.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["one", "t\"wo"]);
        assert_eq!(scanned.line_of(scanned.strings[1].0), 2);
    }

    #[test]
    fn braces_in_text_close_nothing() {
        let scanned = scan("{ \"}\" '}' /* } */ { } x } y");
        assert_eq!(scanned.closing_brace(0), "{ \"}\" '}' /* } */ { } x ".len());
    }
}
