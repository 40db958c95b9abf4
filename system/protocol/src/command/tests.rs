//! Commands in both header encodings against the vectors of Java and against arbitrary bytes.

use proptest::prelude::*;

use super::*;
use crate::frame::{FrameError, MAX_BYTES, Splitter};
use crate::rpc::{GetRouteInfoByTopic, PullMessage, PullMessageReply};

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn cut(bytes: &[u8]) -> Result<Option<BytesMut>, FrameError> {
    let mut splitter = Splitter::new(MAX_BYTES);
    splitter.push(bytes);
    splitter.next_frame()
}

fn decode(frame: &[u8]) -> Command {
    Command::decode(cut(frame).unwrap().expect("a whole frame")).unwrap()
}

fn json_header(header: &str, body: &[u8]) -> BytesMut {
    let mut raw = BytesMut::new();
    raw.put_u32(length(header.len()));
    raw.put_slice(header.as_bytes());
    raw.put_slice(body);
    raw
}

fn from_json(header: &str) -> Result<Command, DecodeError> {
    Command::decode(json_header(header, b""))
}

fn fields(command: &Command) -> Vec<(&str, &str)> {
    command.ext.iter().collect()
}

#[test]
fn the_json_frame_of_java_is_read() {
    let mut frame = unhex("0000009E0000009A");
    frame.extend_from_slice(br#"{"code":11,"extFields":{"queueId":"1","topic":"T","consumerGroup":"G"},"flag":0,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":0}"#);
    let command = decode(&frame);
    assert_eq!((command.code, command.opaque, command.version, command.flag), (11, 7, 0, 0));
    assert_eq!((command.language, &command.remark, command.body.len()), (Language::Java, &None, 0));
    assert_eq!(fields(&command), [("queueId", "1"), ("topic", "T"), ("consumerGroup", "G")]);
    let mut again = BytesMut::new();
    command.encode(&mut again).unwrap();
    assert_eq!(again, frame, "Java writes the members in the same order");
}

#[test]
fn the_binary_frame_of_java_is_read_and_written() {
    let frame =
        unhex("0000002A0100002300690001DF00000007000000000000000268690000000C0005746F706963000000015478797A");
    let command = decode(&frame);
    assert_eq!((command.code, command.opaque, command.version), (105, 7, 479));
    assert_eq!((command.remark.as_deref(), &command.body[..]), (Some("hi"), &b"xyz"[..]));
    assert_eq!(command.header::<GetRouteInfoByTopic>().unwrap().topic, "T");
    let mut again = BytesMut::new();
    command.encode(&mut again).unwrap();
    assert_eq!(again, frame);
}

#[test]
fn pop_codes_survive_the_sixteen_bits_of_requests_only() {
    for (code, flag, read) in [(200_050, 0, 200_050), (200_151, 2, 200_151), (200_050, 1, 3442), (10, 0, 10)]
    {
        let command = Command { code, flag, encoding: Encoding::Binary, ..Command::default() };
        let mut frame = BytesMut::new();
        command.encode(&mut frame).unwrap();
        assert_eq!(decode(&frame).code, read);
    }
}

#[test]
fn any_shape_of_json_header_that_java_takes_is_taken() {
    let minimal = from_json(r#"{"code":0,"flag":1,"opaque":5}"#).unwrap();
    assert_eq!((minimal.opaque, minimal.language, minimal.version), (5, Language::Java, 0));
    assert!(minimal.is_response() && minimal.ext.is_empty());

    let odd = from_json(
        r#" { "unknown" : {"a":[1,{"b":"}\"]"}],"c":null} , "code":"10", "language":9, "remark":null,
        "extFields" : {"a":1,"b":true,"c":null,"d":"","e":"\u0001\ud83d\ude00\n\"\\\/x\ud800","f\u00e9":-2.5,"g":{"x":[1]},"h":"y"},
        "more":-1.5e3,"opaque":-1,"version":null, "flag":2 } "#,
    )
    .unwrap();
    assert_eq!((odd.code, odd.opaque, odd.flag, odd.version), (10, -1, 2, 0));
    assert_eq!((odd.language, &odd.remark), (Language::Go, &None));
    assert!(odd.is_oneway());
    let expected = [
        ("a", "1"),
        ("b", "true"),
        ("d", ""),
        ("e", "\u{1}😀\n\"\\/x\u{FFFD}"),
        ("fé", "-2.5"),
        ("g", "{\"x\":[1]}"),
        ("h", "y"),
    ];
    assert_eq!(fields(&odd), expected);
    assert_eq!(from_json(r#"{"language":"KLINGON"}"#).unwrap().language, Language::Other);
    assert_eq!(from_json(r#"{"extFields":null,"remark":"a\tb"}"#).unwrap().remark.as_deref(), Some("a\tb"));
}

#[test]
fn what_is_no_header_is_refused() {
    for wrong in [
        "",
        "[]",
        "{",
        "{\"code\"}",
        "{\"code\":}",
        "{\"code\":1.5}",
        "{\"code\":99999999999}",
        "{\"code\":\"x\"}",
        "{\"remark\":\"a",
        "{\"remark\":\"\\x\"}",
        "{\"remark\":\"\\u12\"}",
        "{\"extFields\":[]}",
        "{\"extFields\":{\"a\":}}",
        "{\"extFields\":{1:2}}",
        "{} x",
        "{\"a\":[}",
        "nul",
    ] {
        assert!(from_json(wrong).is_err(), "{wrong}");
    }
    let broken = Command::decode(BytesMut::from(&[0, 0, 0, 3, b'{', 0xff, b'}'][..]));
    assert!(matches!(broken, Err(DecodeError::Json { .. })), "{broken:?}");
    assert_eq!(Command::decode(BytesMut::from(&[9, 0, 0, 0][..])), Err(DecodeError::Encoding(9)));
    assert_eq!(Command::decode(BytesMut::from(&[0, 0, 0, 1][..])), Err(DecodeError::Truncated("header")));
    let short_field = unhex("0100001B00690001DF000000070000000000000000000000060005746F7069");
    assert!(matches!(Command::decode(BytesMut::from(&short_field[..])), Err(DecodeError::Truncated(_))));
}

#[test]
fn the_limit_counts_the_length_field() {
    let refused = |bytes: &[u8]| cut(bytes).unwrap_err();
    let word = |length: u32| length.to_be_bytes();
    assert_eq!(cut(&word(16_777_212)), Ok(None));
    for length in [16_777_213, 0xFFFF_FFFF, 0x8000_0004, 3, 0] {
        assert_eq!(refused(&word(length)), FrameError::Length { length, limit: 16_777_212 });
    }
    assert_eq!(refused(&[0, 0, 0, 9, 0, 0, 0, 6]), FrameError::Header { header: 6, length: 9 });
    assert_eq!(refused(&[0, 0, 0, 9, 2, 0, 0, 1]), FrameError::Encoding(2));
    assert_eq!(refused(b"GET / HTTP/1.1\r\n"), FrameError::Length { length: 0x4745_5420, limit: 16_777_212 });

    let mut out = BytesMut::from(&b"before"[..]);
    let large = Command { body: vec![0; MAX_BYTES].into(), ..Command::default() };
    assert!(large.encode(&mut out).is_err());
    let mut header = Command::default();
    header.ext.push("k", &"\u{1}".repeat(3 << 20));
    assert!(header.encode(&mut out).is_err(), "a header that grows by its escapes");
    assert_eq!(&out[..], b"before");
}

#[test]
fn a_frame_keeps_nothing_of_its_neighbours() {
    let mut stream = BytesMut::new();
    let pull = PullMessage { topic: "T".into(), subscription: Some("*".into()), ..PullMessage::default() };
    let request = Command::request(&pull, Bytes::from_static(b"body"));
    let reply = PullMessageReply { next_begin_offset: i64::MAX, ..PullMessageReply::default() };
    let response = Command::response(7, 19).with(&reply);
    request.encode(&mut stream).unwrap();
    response.encode(&mut stream).unwrap();
    let mut splitter = Splitter::new(MAX_BYTES);
    splitter.push(&stream);
    let first = Command::decode(splitter.next_frame().unwrap().unwrap()).unwrap();
    let second = Command::decode(splitter.next_frame().unwrap().unwrap()).unwrap();
    assert_eq!((first.header(), &first.body[..]), (Ok(pull), &b"body"[..]));
    assert_eq!((second.header(), second.code, second.opaque), (Ok(reply), 19, 7));
    assert_eq!((splitter.next_frame(), splitter.buffered()), (Ok(None), 0));
}

fn commands() -> impl Strategy<Value = Command> {
    let code = prop_oneof![0..400, Just(200_050), Just(-1)];
    let ext = prop::collection::vec(("[a-zA-Z_\"é]{1,8}", ".{0,12}"), 0..6);
    let head = (code, 0i64..14, 0..600, any::<i32>(), 0..4, any::<bool>());
    (head, prop::option::of(".{1,10}"), ext, prop::collection::vec(any::<u8>(), 0..40)).prop_map(
        |((code, language, version, opaque, flag, binary), remark, ext, body)| {
            let mut command = Command {
                code,
                language: Language::from_number(language),
                version,
                opaque,
                flag,
                remark: remark.map(Text::from),
                body: body.into(),
                encoding: if binary { Encoding::Binary } else { Encoding::Json },
                ..Command::default()
            };
            ext.iter().for_each(|(key, value)| command.ext.push(key, value));
            command
        },
    )
}

/// A field as peers may write it: its JSON, and what it means.
fn json_fields() -> impl Strategy<Value = (String, Option<(String, String)>)> {
    let spaced = prop::sample::select(vec!["", " ", "\n\t "]);
    let value = prop_oneof![
        any::<i64>().prop_map(|number| (number.to_string(), Some(number.to_string()))),
        any::<bool>().prop_map(|yes| (yes.to_string(), Some(yes.to_string()))),
        Just(("null".to_owned(), None)),
        ".{0,10}".prop_map(|text| (serde_json::to_string(&text).unwrap(), Some(text))),
        ".{0,6}".prop_map(|text| {
            let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            (format!("\"{units}\""), Some(text))
        }),
    ];
    (".{0,5}", spaced, value).prop_map(|(key, space, (written, meant))| {
        let json = format!("{space}{}{space}:{space}{written}{space}", serde_json::to_string(&key).unwrap());
        (json, meant.map(|value| (key, value)))
    })
}

proptest! {
    #[test]
    fn commands_come_back_however_the_stream_is_cut(commands in prop::collection::vec(commands(), 1..4), cuts in prop::collection::vec(1usize..60, 1..20)) {
        let mut stream = BytesMut::new();
        for command in &commands {
            command.encode(&mut stream).unwrap();
        }
        let mut splitter = Splitter::new(MAX_BYTES);
        let mut read = Vec::new();
        let mut cuts = cuts.iter().cycle();
        while !stream.is_empty() {
            let size = stream.len().min(*cuts.next().unwrap());
            splitter.space().extend_from_slice(&stream.split_to(size));
            while let Some(frame) = splitter.next_frame().unwrap() {
                read.push(Command::decode(frame).unwrap());
            }
        }
        let mut expected = commands;
        for command in expected.iter_mut().filter(|command| command.encoding == Encoding::Binary) {
            if command.code == 200_050 && command.is_response() {
                command.code = 3442;
            }
        }
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn fields_in_any_writing_mean_the_same(written in prop::collection::vec(json_fields(), 0..8)) {
        let json: Vec<&str> = written.iter().map(|(json, _)| json.as_str()).collect();
        let header = format!(r#"{{"extFields":{{{}}},"opaque":3,"remark":"r"}}"#, json.join(","));
        let command = from_json(&header).unwrap();
        let meant: Vec<(&str, &str)> =
            written.iter().filter_map(|(_, meant)| meant.as_ref()).map(|(k, v)| (k.as_str(), v.as_str())).collect();
        prop_assert_eq!(fields(&command), meant);
        prop_assert_eq!((command.opaque, command.remark.as_deref()), (3, Some("r")));
    }

    #[test]
    fn decoding_is_total(bytes in prop::collection::vec(any::<u8>(), 0..80), binary: bool) {
        let _ = Command::decode(BytesMut::from(&bytes[..]));
        let mut framed = BytesMut::new();
        framed.put_u32(length(bytes.len()) | u32::from(binary) << 24);
        framed.put_slice(&bytes);
        if let Ok(command) = Command::decode(framed) {
            let _ = (command.header::<PullMessage>(), command.encode(&mut BytesMut::new()), format!("{command:?}"));
        }
        let mut splitter = Splitter::new(64);
        splitter.push(&bytes);
        for _ in 0..40 {
            let _ = splitter.next_frame().map(|frame| frame.map(Command::decode));
        }
    }

    #[test]
    fn nearly_headers_are_total(scraps in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u0041", "\\ud83d\\ude00", "\"a\"", "\"extFields\"", "\"remark\"", "\"code\"", "null", "7", "é", " ",
        "{\"extFields\":{", "\"k\":1,", "\"k\":\"v\"",
    ]), 0..30)) {
        if let Ok(command) = from_json(&scraps.concat()) {
            let _ = format!("{command:?}");
        }
    }
}
