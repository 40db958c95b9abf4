//! Java's properties format: ISO-8859-1, escapes, comments, lines that continue.

/// One key with its value, or a line that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The line it begins in, from 1.
    pub line: usize,
    /// The key; of a wrong line, its beginning.
    pub key: String,
    /// The value. Blanks at its end belong to it.
    pub value: String,
    /// Why the line is wrong.
    pub bad: Option<&'static str>,
}

/// Reads all entries; of a repeated key the last counts.
pub fn read(bytes: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut lines = lines(bytes).into_iter().enumerate();
    while let Some((number, line)) = lines.next() {
        let mut logical = trim_start(line).to_vec();
        if matches!(logical.first(), None | Some(b'#' | b'!')) {
            continue;
        }
        while continues(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.extend(trim_start(next));
        }
        entries.push(entry(number + 1, &logical));
    }
    entries
}

/// The value in a form that reads back.
pub fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for (at, character) in value.chars().enumerate() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\u{c}' => escaped.push_str("\\f"),
            ' ' if at == 0 => escaped.push_str("\\ "),
            ' '..='~' => escaped.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    escaped.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    escaped
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        lines.push(&rest[..end]);
        rest = rest[end..].strip_prefix(b"\r\n").unwrap_or(&rest[end + 1..]);
    }
    lines.push(rest);
    lines
}

fn blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

fn trim_start(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|byte| blank(**byte)).count();
    &line[blanks..]
}

/// Whether the line ends with a backslash that is not escaped itself.
fn continues(line: &[u8]) -> bool {
    line.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

fn entry(line: usize, text: &[u8]) -> Entry {
    let mut end = 0;
    while end < text.len() && !blank(text[end]) && !matches!(text[end], b'=' | b':') {
        end += if text[end] == b'\\' { 2 } else { 1 };
    }
    let (key, rest) = text.split_at(end.min(text.len()));
    let mut rest = trim_start(rest);
    if let Some((b'=' | b':', behind)) = rest.split_first() {
        rest = trim_start(behind);
    }
    match (unescape(key), unescape(rest)) {
        (Some(key), Some(value)) => Entry { line, key, value, bad: None },
        _ => {
            let shown = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
            let bad = Some("a unicode escape without four hexadecimal digits");
            Entry { line, key: shown(key), value: shown(rest), bad }
        }
    }
}

/// The text of ISO-8859-1 bytes, of which each is the character of its number. Escapes are units of UTF-16: a
/// character beyond 16 bits is two of them.
fn unescape(text: &[u8]) -> Option<String> {
    let mut units = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if *byte != b'\\' {
            units.push(u16::from(*byte));
            continue;
        }
        let Some((escape, behind)) = rest.split_first() else { break };
        rest = behind;
        units.push(match escape {
            b't' => u16::from(b'\t'),
            b'n' => u16::from(b'\n'),
            b'r' => u16::from(b'\r'),
            b'f' => 0x0c,
            b'u' => {
                let (digits, behind) = rest.split_at_checked(4)?;
                rest = behind;
                digits.iter().try_fold(0, |unit, digit| {
                    let digit = char::from(*digit).to_digit(16)?;
                    Some(unit << 4 | u16::try_from(digit).ok()?)
                })?
            }
            other => u16::from(*other),
        });
    }
    Some(String::from_utf16_lossy(&units))
}
