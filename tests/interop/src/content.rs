//! The n-th message of a producer, the same in Java (Driver.java) and in Rust.

use client::Message;

/// Body of the n-th message; every fiftieth is long enough to be compressed.
pub(crate) fn body(producer: &str, n: u32) -> Vec<u8> {
    let length = if n.is_multiple_of(50) { 6000 } else { n % 100 };
    let filler = (0..length).map(|i| char::from(b'a' + u8::try_from((n + i) % 26).expect("a letter")));
    let mut text = format!("{producer}-{n} grüße 日本語 \u{1F600} ");
    text.extend(filler);
    text.into_bytes()
}

/// The tag, the keys and the user property of the n-th message.
pub(crate) fn marks(n: u32) -> (String, String, String) {
    (format!("Tag{}", n % 3), format!("key-{n} all"), format!("日本-{n}"))
}

/// The whole message.
pub(crate) fn message(topic: &str, producer: &str, n: u32) -> Message {
    let (tag, _, unicode) = marks(n);
    Message::new(topic, body(producer, n))
        .tag(tag)
        .key(&format!("key-{n}"))
        .key("all")
        .property("producer", producer)
        .property("serial", n.to_string())
        .property("größe", unicode)
}
