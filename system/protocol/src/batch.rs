//! The body of a batch send (code 320): small items one after the other (wire.md 2.5).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One message of a batch. Topic, queue and flags of the record come from the send header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The user's flag.
    pub flag: i32,
    /// The body; batches are never compressed.
    pub body: Bytes,
    /// Properties text.
    pub properties: Bytes,
}

/// A batch body that cannot be cut into items.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("batch item {index} {what}")]
pub struct BadBatch {
    index: usize,
    what: &'static str,
}

const FIXED: usize = 22;

impl Item {
    /// Bytes this item takes in a batch body.
    pub fn size(&self) -> usize {
        FIXED + self.body.len() + self.properties.len()
    }

    /// Appends the item.
    ///
    /// # Panics
    /// When the properties are longer than 32,767 bytes or the item longer than 2 GiB: the caller checks limits.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_i32(i32::try_from(self.size()).expect("an item is within the message size limit"));
        out.put_i64(0); // magic and checksum are not used inside a batch
        out.put_i32(self.flag);
        out.put_i32(i32::try_from(self.body.len()).expect("a body is within the message size limit"));
        out.put_slice(&self.body);
        out.put_i16(i16::try_from(self.properties.len()).expect("properties are within 32767 bytes"));
        out.put_slice(&self.properties);
    }
}

/// Cuts a batch body into its items; every byte must belong to one.
pub fn decode(mut body: Bytes) -> Result<Vec<Item>, BadBatch> {
    let mut items = Vec::new();
    while body.has_remaining() {
        let bad = |what| BadBatch { index: items.len(), what };
        let size = body.try_get_i32().map_err(|_| bad("ends inside its length"))?;
        let size = usize::try_from(size).map_err(|_| bad("has a negative length"))?;
        if size < FIXED || size - 4 > body.len() {
            return Err(bad("is longer than the body"));
        }
        let mut item = body.split_to(size - 4);
        item.advance(8);
        let flag = item.get_i32();
        let length = usize::try_from(item.get_i32()).map_err(|_| bad("has a negative body length"))?;
        if length + 2 > item.len() {
            return Err(bad("has a body longer than itself"));
        }
        let content = item.split_to(length);
        let length = usize::try_from(item.get_i16()).map_err(|_| bad("has a negative properties length"))?;
        if length != item.len() {
            return Err(bad("has properties of another length than it says"));
        }
        items.push(Item { flag, body: content, properties: item });
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_those_of_java() {
        // wire.md 12, vector 6
        let items = [
            Item {
                flag: 7,
                body: Bytes::from_static(b"hello"),
                properties: Bytes::from_static(b"WAIT\x01true\x02TAGS\x01TagA\x02"),
            },
            Item {
                flag: 0,
                body: Bytes::from_static(b"b"),
                properties: Bytes::from_static(b"WAIT\x01true\x02"),
            },
        ];
        let mut out = BytesMut::new();
        items.iter().for_each(|i| i.encode(&mut out));
        let hex: String = out.iter().map(|b| format!("{b:02X}")).collect();
        assert_eq!(
            hex,
            "0000002F0000000000000000000000070000000568656C6C6F00145741495401747275650254414753015461674102\
             000000210000000000000000000000000000000162000A57414954017472756502"
        );
        assert_eq!(decode(out.freeze()).unwrap(), items);
    }

    proptest! {
        #[test]
        fn any_bytes_are_cut_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(Bytes::from(bytes));
        }

        #[test]
        fn a_shortened_batch_is_refused(n in 1usize..4, cut in 1usize..20) {
            let mut out = BytesMut::new();
            for i in 0..n {
                Item { flag: 1, body: Bytes::from(vec![9; i]), properties: Bytes::new() }.encode(&mut out);
            }
            out.truncate(out.len().saturating_sub(cut % FIXED).max(1));
            let whole = cut % FIXED == 0;
            prop_assert_eq!(decode(out.freeze()).is_ok(), whole);
        }
    }
}
