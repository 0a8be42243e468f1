//! Server-sent events: from pieces of bytes to events.

/// Longest line, in bytes: an event carries a prompt of at most 32,000 characters.
const MAX_LINE_BYTES: usize = 1 << 20;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// The last `id:`.
    pub(crate) id: Option<String>,
    /// The `event:`.
    pub(crate) kind: String,
    /// The `data:`, its lines joined.
    pub(crate) data: String,
}

/// What was read and is no whole event yet.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    event: SseEvent,
    skip_line_feed: bool,
}

/// A line longer than any event of ours.
#[derive(Debug)]
pub(crate) struct LineTooLong;

impl SseParser {
    /// Takes a piece and returns the events that it completes.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<Vec<SseEvent>, LineTooLong> {
        let mut events = Vec::new();
        for byte in piece {
            let after_return = std::mem::take(&mut self.skip_line_feed);
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => {
                    self.skip_line_feed = *byte == b'\r';
                    events.extend(self.end_line());
                }
                _ if self.line.len() >= MAX_LINE_BYTES => return Err(LineTooLong),
                _ => self.line.push(*byte),
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<SseEvent> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (!event.data.is_empty()).then_some(event);
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.kind),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments begin with the colon; other fields mean nothing to us.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text = b": hello\n\nid: 1\nevent: video.queued\ndata: {\"a\":\ndata: 1}\n\nid: 2\r\ndata:x\r\n\r\n";
        let whole = SseParser::default().take(text).unwrap();
        assert_eq!(whole.len(), 2);
        assert_eq!(
            (whole[0].id.as_deref(), whole[0].kind.as_str(), whole[0].data.as_str()),
            (Some("1"), "video.queued", "{\"a\":\n1}")
        );
        assert_eq!((whole[1].id.as_deref(), whole[1].data.as_str()), (Some("2"), "x"));
        for cut in 1..text.len() {
            let mut parser = SseParser::default();
            let mut pieces = parser.take(&text[..cut]).unwrap();
            pieces.extend(parser.take(&text[cut..]).unwrap());
            assert_eq!(pieces, whole, "cut at {cut}");
        }
        assert!(SseParser::default().take(&vec![b'x'; MAX_LINE_BYTES + 1]).is_err());
    }
}
