//! What commands print. A reader that goes away, such as `head`, ends the process quietly.

use std::io::{ErrorKind, Write, stdout};

/// Exit code after a failure to print.
const PRINT_FAILED: i32 = 1;

/// One line to standard output, at once.
pub(crate) fn line(text: &str) {
    write(format!("{text}\n").as_bytes());
}

/// Some text to standard output as it is.
pub(crate) fn text(text: &str) {
    write(text.as_bytes());
}

fn write(bytes: &[u8]) {
    let mut out = stdout().lock();
    if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        complain(&format!("standard output: {error}"));
        std::process::exit(PRINT_FAILED);
    }
}

/// One message to standard error.
pub(crate) fn complain(message: &str) {
    eprintln!("longtake: {message}");
}

/// A table with a header, its columns as wide as they must be.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = header.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let show = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        line(padded.join("  ").trim_end());
    };
    show(&mut header.iter().copied());
    for row in rows {
        show(&mut row.iter().map(String::as_str));
    }
}

/// JSON for programs: one document on several lines.
pub(crate) fn json(value: &serde_json::Value) {
    line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Unix seconds as a date and time in UTC.
pub(crate) fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// A member of a JSON object as text; empty where it is absent or null.
pub(crate) fn member(value: &serde_json::Value, name: &str) -> String {
    match value.get(name) {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(" "),
        Some(other) => other.to_string(),
    }
}
