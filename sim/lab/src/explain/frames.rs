//! Requests and answers, put together from the pieces of data that connections carried.

use std::collections::BTreeMap;

use bytes::BytesMut;
use protocol::Command;

use super::detail::Detail;

/// One request or answer on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Name of the node it comes from.
    pub from: String,
    /// Name of the node it goes to.
    pub to: String,
    /// When its first byte was written.
    pub sent_ns: u64,
    /// When its last byte came.
    pub fate: Fate,
    /// What it is, by its code.
    pub name: String,
    /// It is an answer; to that frame when it is known.
    pub answers: Option<Option<usize>>,
    /// The number that joins a request and its answer.
    pub opaque: i32,
    /// Header fields.
    pub fields: Vec<(String, String)>,
    /// Why it was refused.
    pub remark: Option<String>,
    /// Everything, as it was sent.
    pub bytes: Vec<u8>,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrived.
    Arrived(u64),
    /// It never did.
    Lost,
    /// It never did, since its connection broke then.
    Reset(u64),
}

impl Frame {
    /// The value of a header field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether these bytes stand in it, with no digit behind them.
    #[must_use]
    pub fn holds(&self, text: &[u8]) -> bool {
        let mut places = self.bytes.windows(text.len()).enumerate().filter(|(_, part)| *part == text);
        places.any(|(at, _)| self.bytes.get(at + text.len()).is_none_or(|next| !next.is_ascii_digit()))
    }
}

/// All frames of a run, in the order they were sent.
#[must_use]
pub fn read(detail: &Detail) -> Vec<Frame> {
    let mut streams: BTreeMap<(u64, u64), Stream> = BTreeMap::new();
    let mut broke: BTreeMap<u64, u64> = BTreeMap::new();
    let mut ends: BTreeMap<u64, [usize; 2]> = BTreeMap::new();
    for note in &detail.notes {
        let key = |end: usize| Some((*note.numbers.first()?, *note.numbers.get(end)?));
        match note.kind {
            "connect" => {
                let text = String::from_utf8_lossy(&note.bytes);
                let peer = text.split(' ').nth(1).and_then(|address| detail.at(address));
                ends.extend(note.numbers.first().zip(peer).map(|(id, peer)| (*id, [note.node, peer])));
            }
            "sent" => {
                let stream = key(1).map(|key| streams.entry(key).or_default());
                if let Some(stream) = stream {
                    stream.sent.push((stream.bytes.len(), note.at_ns));
                    stream.bytes.extend_from_slice(&note.bytes);
                }
            }
            "arrive" => {
                if let Some(stream) = key(1).and_then(|key| streams.get_mut(&key)) {
                    let before = stream.arrived.last().map_or(0, |(end, _)| *end);
                    stream.arrived.push((before + note.bytes.len(), note.at_ns));
                }
            }
            "reset" | "close" | "give up" => {
                broke.extend(note.numbers.first().map(|id| (*id, note.at_ns)));
            }
            _ => {}
        }
    }
    let mut frames = Vec::new();
    for ((connection, end), stream) in streams {
        let Some(ends) = ends.get(&connection) else { continue };
        let way = match end {
            0 => [ends[0], ends[1]],
            _ => [ends[1], ends[0]],
        };
        let way = way.map(|node| detail.name(node).to_owned());
        let broke = broke.get(&connection).copied();
        frames.extend(stream.frames(&way, broke).map(|frame| ((connection, end), frame)));
    }
    frames.sort_by_key(|(_, frame)| frame.sent_ns);
    join(frames)
}

/// Which request each answer belongs to.
fn join(frames: Vec<((u64, u64), Frame)>) -> Vec<Frame> {
    let mut asked = BTreeMap::new();
    let mut out: Vec<Frame> = Vec::with_capacity(frames.len());
    for (index, ((connection, end), mut frame)) in frames.into_iter().enumerate() {
        match &mut frame.answers {
            None => drop(asked.insert((connection, end, frame.opaque), index)),
            Some(to) => {
                *to = asked.remove(&(connection, 1 - end, frame.opaque));
                if let Some(request) = to.and_then(|index| out.get(index)) {
                    frame.name = format!("{} to {}", frame.name, request.name);
                }
            }
        }
        out.push(frame);
    }
    out
}

/// What one end of a connection wrote.
#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    /// Where each piece begins, and when it was written.
    sent: Vec<(usize, u64)>,
    /// Up to where everything has arrived, and when.
    arrived: Vec<(usize, u64)>,
}

impl Stream {
    fn frames(&self, way: &[String; 2], broke: Option<u64>) -> impl Iterator<Item = Frame> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let head: [u8; 4] = self.bytes.get(at..at + 4)?.try_into().ok()?;
            let end = at + 4 + u32::from_be_bytes(head) as usize;
            let raw = self.bytes.get(at + 4..end)?;
            let sent_ns = self.sent[self.sent.partition_point(|(start, _)| *start <= at) - 1].1;
            let arrived = self.arrived.get(self.arrived.partition_point(|(until, _)| *until < end));
            let fate = match (arrived, broke) {
                (Some((_, at_ns)), _) => Fate::Arrived(*at_ns),
                (None, Some(at_ns)) => Fate::Reset(at_ns.max(sent_ns)),
                (None, None) => Fate::Lost,
            };
            at = end;
            Some(frame(raw, way, sent_ns, fate))
        })
    }
}

fn frame(raw: &[u8], way: &[String; 2], sent_ns: u64, fate: Fate) -> Frame {
    let mut frame = Frame {
        from: way[0].clone(),
        to: way[1].clone(),
        sent_ns,
        fate,
        name: "unreadable".to_owned(),
        answers: None,
        opaque: 0,
        fields: Vec::new(),
        remark: None,
        bytes: raw.to_vec(),
    };
    let Ok(command) = Command::decode(BytesMut::from(raw)) else { return frame };
    frame.opaque = command.opaque;
    frame.remark = command.remark.as_ref().map(|text| text.as_str().to_owned());
    let named =
        |name: Option<&'static str>| name.map_or_else(|| format!("code {}", command.code), str::to_owned);
    if command.is_response() {
        frame.name = named(protocol::code::name(command.code));
        frame.answers = Some(None);
    } else {
        frame.name = named(protocol::rpc::name(command.code));
    }
    let short = frame.name.contains("V2") || frame.name.contains("SendBatch");
    let pairs = command.ext.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    frame.fields = pairs.map(|(name, value)| (if short { long(&name) } else { name }, value)).collect();
    frame
}

/// The newer send requests name their fields by letters, to be shorter.
fn long(letter: &str) -> String {
    const NAMES: &[(&str, &str)] = &[
        ("a", "producerGroup"),
        ("b", "topic"),
        ("c", "defaultTopic"),
        ("d", "defaultTopicQueueNums"),
        ("e", "queueId"),
        ("f", "sysFlag"),
        ("g", "bornTimestamp"),
        ("h", "flag"),
        ("i", "properties"),
        ("j", "reconsumeTimes"),
        ("k", "unitMode"),
        ("l", "maxReconsumeTimes"),
        ("m", "batch"),
        ("n", "brokerName"),
    ];
    NAMES.iter().find(|(short, _)| *short == letter).map_or(letter, |(_, name)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use protocol::rpc::GetRouteInfoByTopic;

    use super::*;
    use crate::explain::detail::Note;

    fn note(at_ns: u64, node: usize, kind: &'static str, numbers: &[u64], bytes: &[u8]) -> Note {
        Note { at_ns, node, kind, numbers: numbers.to_vec(), bytes: bytes.to_vec() }
    }

    fn encoded(command: &Command) -> Vec<u8> {
        let mut out = BytesMut::new();
        command.encode(&mut out).unwrap();
        out.to_vec()
    }

    #[test]
    fn a_request_in_two_pieces_is_joined_with_its_answer_and_one_that_never_came_is_told() {
        let asks = GetRouteInfoByTopic { topic: "orders".into(), ..GetRouteInfoByTopic::default() };
        let ask = |opaque| encoded(&Command { opaque, ..Command::request(&asks, Bytes::new()) });
        let (first, second) = (ask(7), ask(8));
        let answer = encoded(&Command::response(7, 17));
        let nodes = [("driver", "10.0.0.9"), ("p0", "10.0.2.1"), ("ns0", "10.0.0.1")];
        let detail = Detail {
            nodes: nodes.map(|(name, ip)| (name.to_owned(), ip.to_owned())).into(),
            notes: vec![
                note(1, 1, "connect", &[0], b"10.0.2.1:40000 10.0.0.1:9876"),
                note(2, 1, "sent", &[0, 0], &first[..9]),
                note(3, 1, "sent", &[0, 0], &first[9..]),
                note(4, 2, "arrive", &[0, 0], &first),
                note(5, 2, "sent", &[0, 1], &answer),
                note(6, 1, "arrive", &[0, 1], &answer),
                note(7, 1, "sent", &[0, 0], &second),
                note(9, 1, "reset", &[0], b""),
            ],
            ..Detail::default()
        };
        let frames = read(&detail);
        let told: Vec<_> =
            frames.iter().map(|it| (&*it.name, &*it.from, &*it.to, it.sent_ns, it.fate)).collect();
        assert_eq!(
            told,
            [
                ("GetRouteInfoByTopic", "p0", "ns0", 2, Fate::Arrived(4)),
                ("TOPIC_NOT_EXIST to GetRouteInfoByTopic", "ns0", "p0", 5, Fate::Arrived(6)),
                ("GetRouteInfoByTopic", "p0", "ns0", 7, Fate::Reset(9)),
            ]
        );
        assert_eq!(frames[0].field("topic"), Some("orders"));
        assert!(frames[0].holds(b"orders") && !frames[0].holds(b"other"));
    }
}
