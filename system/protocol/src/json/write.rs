//! The writer: standard JSON but for the names that are integers or objects.

use serde::Serialize;
use serde::ser::{
    Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple, SerializeTupleStruct, Serializer,
};

use super::{Dialect, Error};

pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    dialect: Dialect,
    /// What is written next is a name.
    name: bool,
}

impl<'o> Writer<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>, dialect: Dialect) -> Self {
        Self { out, dialect, name: false }
    }

    fn number(&mut self, number: impl Into<i64>) {
        let quoted = std::mem::take(&mut self.name) && self.dialect == Dialect::Standard;
        self.quote(quoted);
        crate::ext::put_decimal(self.out, number.into());
        self.quote(quoted);
    }

    fn quote(&mut self, wanted: bool) {
        if wanted {
            self.out.push(b'"');
        }
    }

    fn word(&mut self, word: &[u8]) {
        let quoted = std::mem::take(&mut self.name);
        self.quote(quoted);
        self.out.extend_from_slice(word);
        self.quote(quoted);
    }

    fn string(&mut self, text: &str) {
        self.name = false;
        self.out.push(b'"');
        for character in text.chars() {
            match character {
                '"' => self.out.extend_from_slice(b"\\\""),
                '\\' => self.out.extend_from_slice(b"\\\\"),
                '\n' => self.out.extend_from_slice(b"\\n"),
                '\r' => self.out.extend_from_slice(b"\\r"),
                '\t' => self.out.extend_from_slice(b"\\t"),
                control if control < ' ' => {
                    self.out.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes());
                }
                other => self.out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        self.out.push(b'"');
    }
}

/// A list or an object under way.
pub(super) struct Items<'w, 'o> {
    writer: &'w mut Writer<'o>,
    first: bool,
    end: u8,
    /// Where the member begins whose value comes next.
    member: usize,
}

impl<'w, 'o> Items<'w, 'o> {
    fn open(writer: &'w mut Writer<'o>, start: u8, end: u8) -> Self {
        writer.name = false;
        writer.out.push(start);
        Self { writer, first: true, end, member: 0 }
    }

    fn comma(&mut self) {
        if !self.first {
            self.writer.out.push(b',');
        }
    }

    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
        self.comma();
        self.first = false;
        item.serialize(&mut *self.writer)
    }

    fn member_name<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), Error> {
        self.member = self.writer.out.len();
        self.comma();
        self.writer.name = true;
        name.serialize(&mut *self.writer)?;
        self.writer.name = false;
        self.writer.out.push(b':');
        Ok(())
    }

    /// Writes the value; a member whose value is null is taken back.
    fn member_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let at = self.writer.out.len();
        value.serialize(&mut *self.writer)?;
        if &self.writer.out[at..] == b"null" {
            self.writer.out.truncate(self.member);
        } else {
            self.first = false;
        }
        Ok(())
    }

    fn close(self) {
        self.writer.out.push(self.end);
    }
}

macro_rules! integers {
    ($($method:ident $ty:ty)*) => {
        $(fn $method(self, number: $ty) -> Result<(), Error> { self.number(number); Ok(()) })*
    };
}

impl<'w, 'o> Serializer for &'w mut Writer<'o> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Items<'w, 'o>;
    type SerializeTuple = Items<'w, 'o>;
    type SerializeTupleStruct = Items<'w, 'o>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Items<'w, 'o>;
    type SerializeStruct = Items<'w, 'o>;
    type SerializeStructVariant = Impossible<(), Error>;

    integers! {
        serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64
        serialize_u8 u8 serialize_u16 u16 serialize_u32 u32
    }

    fn serialize_u64(self, number: u64) -> Result<(), Error> {
        self.word(number.to_string().as_bytes());
        Ok(())
    }

    fn serialize_bool(self, yes: bool) -> Result<(), Error> {
        self.word(if yes { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, number: f32) -> Result<(), Error> {
        self.serialize_f64(f64::from(number))
    }

    fn serialize_f64(self, number: f64) -> Result<(), Error> {
        if number.is_finite() {
            self.word(format!("{number:?}").as_bytes());
        } else {
            self.word(b"null");
        }
        Ok(())
    }

    fn serialize_char(self, character: char) -> Result<(), Error> {
        self.string(character.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.string(text);
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        let mut items = Items::open(self, b'[', b']');
        bytes.iter().try_for_each(|byte| items.item(byte))?;
        items.close();
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.word(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.string(variant);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        Err(Error::new(format!("{name} has no JSON form among peers")))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'w, 'o>, Error> {
        Ok(Items::open(self, b'[', b']'))
    }

    fn serialize_tuple(self, _: usize) -> Result<Items<'w, 'o>, Error> {
        Ok(Items::open(self, b'[', b']'))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items<'w, 'o>, Error> {
        Ok(Items::open(self, b'[', b']'))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<(), Error>, Error> {
        Err(Error::new(format!("{name} has no JSON form among peers")))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Items<'w, 'o>, Error> {
        Ok(Items::open(self, b'{', b'}'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Items<'w, 'o>, Error> {
        Ok(Items::open(self, b'{', b'}'))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<(), Error>, Error> {
        Err(Error::new(format!("{name} has no JSON form among peers")))
    }
}

/// serde has three names for a list; here they are one.
macro_rules! lists {
    ($($kind:ident $method:ident)*) => {$(
        impl $kind for Items<'_, '_> {
            type Ok = ();
            type Error = Error;
            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
                self.item(item)
            }
            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        }
    )*};
}

lists! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
}

impl SerializeMap for Items<'_, '_> {
    type Ok = ();
    type Error = Error;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), Error> {
        self.member_name(name)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.member_value(value)
    }
    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

impl SerializeStruct for Items<'_, '_> {
    type Ok = ();
    type Error = Error;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.member_name(name)?;
        self.member_value(value)
    }
    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}
