//! An answer as a flat list of named fields, without what differs between any two runs.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::record::{self, Scan};
use protocol::{Command, json, name, properties};
use serde_json::Value;

/// Field by field; the remark is text for people and is not compared.
pub(crate) fn of(answer: &Command, address: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    fields.insert("code".to_owned(), answer.code.to_string());
    for (name, value) in answer.ext.iter() {
        let is_position = ["indexLastUpdatePhyoffset", "commitLogOffset"].contains(&name) && value != "0";
        let value = if is_position { "<position>".to_owned() } else { steady(value, address) };
        fields.insert(format!("field {name}"), value);
    }
    if answer.body.is_empty() {
        return fields;
    }
    if let Scan::Record(_) = record::scan(&answer.body, true) {
        for (number, bytes) in record::each(answer.body.clone()).enumerate() {
            add_record(&mut fields, &format!("record {number}"), &bytes, address);
        }
        // How many copies of other half messages stand in front differs from run to run.
        let offset = fields.get("record 0 queueOffset").cloned();
        if let Some(table) =
            fields.get_mut("field tranStateTableOffset").filter(|table| Some(&**table) == offset.as_ref())
        {
            *table = "that of the record".to_owned();
            fields.remove("record 0 queueOffset");
        }
    } else {
        match json::from_slice::<Value>(&with_names_as_text(&answer.body)) {
            Ok(value) => add_json(&mut fields, "body", &value, address),
            Err(error) => {
                let text = String::from_utf8_lossy(&answer.body);
                fields.insert("body".to_owned(), format!("{error}: {text}"));
            }
        }
    }
    fields
}

fn add_record(fields: &mut BTreeMap<String, String>, at: &str, bytes: &Bytes, address: &str) {
    let Scan::Record(r) = record::scan(bytes, true) else {
        fields.insert(at.to_owned(), "damaged".to_owned());
        return;
    };
    // Size and position follow from the properties, which are compared one by one.
    let mut add = |name: &str, value: String| fields.insert(format!("{at} {name}"), steady(&value, address));
    add("magic", format!("{:02x?}", &bytes[4..8]));
    add("topic", r.topic.to_owned());
    add("queueId", r.queue_id.to_string());
    add("flag", r.flag.to_string());
    add("sysFlag", r.sys_flag.to_string());
    if ![name::HALF_TOPIC, name::TRANS_CHECK_MAX_TIME_TOPIC].contains(&r.topic) {
        // There it tells how many copies stand in front: one for each check of another half message so far.
        add("queueOffset", r.place.queue_offset.to_string());
    }
    add("storeTimestamp", r.place.store_timestamp.to_string());
    add("bornTimestamp", r.born_timestamp.to_string());
    add("bornHost", r.born_host.ip().to_string());
    add("storeHost", r.store_host.to_string());
    add("reconsumeTimes", r.reconsume_times.to_string());
    let is_position = r.prepared_offset > 0;
    add("preparedOffset", if is_position { "<position>".to_owned() } else { r.prepared_offset.to_string() });
    add("body", String::from_utf8_lossy(r.body).into_owned());
    for (name, value) in properties::to_map(r.properties) {
        add(&format!("property {name}"), value);
    }
}

fn add_json(fields: &mut BTreeMap<String, String>, at: &str, value: &Value, address: &str) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                add_json(fields, &format!("{at}.{}", steady(name, address)), value, address);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let mut texts: Vec<_> = items.iter().map(Value::to_string).collect();
            texts.sort(); // sets of Java have no order
            for (number, item) in texts.iter().enumerate() {
                fields.insert(format!("{at}[{number}]"), steady(item, address));
            }
        }
        Value::Null => {} // a reader sees no difference to an absent member
        other => {
            let text = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
            fields.insert(at.to_owned(), steady(&text, address));
        }
    }
}

/// JSON as Java writes it, where names may be objects or numbers, with all names as text.
fn with_names_as_text(json: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(json);
    let mut out = String::new();
    let mut rest = &*text;
    // What comes next may be a name: right behind a brace, or behind a comma inside braces.
    let (mut open, mut name) = (Vec::new(), false);
    while let Some(next) = rest.chars().next() {
        let length = if name && (next == '{' || next.is_ascii_digit()) { name_length(rest) } else { 0 };
        if length > 0 {
            out.push_str(&Value::from(&rest[..length]).to_string());
            (rest, name) = (&rest[length..], false);
            continue;
        }
        let length = if next == '"' { text_length(rest) } else { next.len_utf8() };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
        match next {
            '{' | '[' => open.push(next),
            '}' | ']' => drop(open.pop()),
            _ => {}
        }
        name = next == '{' || (next == ',' && open.last() == Some(&'{'));
    }
    out.into_bytes()
}

/// Length of the text in quotes that begins here.
fn text_length(json: &str) -> usize {
    let mut escaped = true; // the first quote is no end
    for (at, c) in json.char_indices() {
        match c {
            '"' if !escaped => return at + 1,
            '\\' if !escaped => escaped = true,
            _ => escaped = false,
        }
    }
    json.len()
}

/// Length of the object or number that begins here.
fn name_length(json: &str) -> usize {
    if !json.starts_with('{') {
        return json.find(|c: char| !c.is_ascii_digit()).unwrap_or(json.len());
    }
    let (mut at, mut depth) = (0, 0);
    while let Some(c) = json[at..].chars().next() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        at += if c == '"' { text_length(&json[at..]) } else { c.len_utf8() };
        if depth == 0 {
            return at;
        }
    }
    json.len()
}

/// A value without the broker's address, ports of peers, ids made at random, positions and times of now.
fn steady(value: &str, address: &str) -> String {
    let port: u32 = address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0);
    let host = format!("7F000001{port:08X}");
    let value = value.replace(address, "<broker>");
    let mut out = String::new();
    let mut rest = value.as_str();
    while let Some(at) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        out.push_str(&rest[..at]);
        let digits = rest[at..].bytes().take_while(u8::is_ascii_hexdigit).count();
        let word = &rest[at..at + digits];
        rest = &rest[at + digits..];
        let is_number = word.bytes().all(|b| b.is_ascii_digit());
        out.push_str(if digits == 32 && word.starts_with(&host) {
            "<offset id>"
        } else if digits >= 32 {
            "<unique id>"
        } else if is_number && digits >= 4 && out.ends_with("127.0.0.1:") {
            "<port>"
        } else if is_number && digits == 13 && ("1750000000000".."2200000000000").contains(&word) {
            "<now>"
        } else {
            word
        });
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_kind_become_text() {
        let text = |json: &str| String::from_utf8(with_names_as_text(json.as_bytes())).unwrap_or_default();
        assert_eq!(
            text(r#"{{"q":1}:{0:"x",1:[{"a":2},{"b":3}]}}"#),
            r#"{"{\"q\":1}":{"0":"x","1":[{"a":2},{"b":3}]}}"#
        );
        assert_eq!(text(r#"{"a\"{":{"b":[1,{2:3}]}}"#), r#"{"a\"{":{"b":[1,{"2":3}]}}"#);
    }

    #[test]
    fn what_differs_between_any_two_runs_is_left_out() {
        let id = "7F00000100002A9F0000000000000096";
        assert_eq!(steady(id, "127.0.0.1:10911"), "<offset id>");
        assert_eq!(
            steady("at 127.0.0.1:10911 and 127.0.0.1:4711", "127.0.0.1:10911"),
            "at <broker> and 127.0.0.1:<port>"
        );
        assert_eq!(steady("1800000000000 1700000000000 abc", "127.0.0.1:1"), "<now> 1700000000000 abc");
    }
}
