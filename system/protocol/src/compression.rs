//! Body compression: zlib, LZ4 frames and zstd, as the client's sysFlag says (wire.md 2.2 and 2.6).

use std::io::{self, Read, Write};

use crate::record::sys_flag;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1950 stream, the default and the only one that old peers and Go read.
    #[default]
    Zlib,
    /// LZ4 frame format.
    Lz4,
    /// zstd frame.
    Zstd,
}

impl Compression {
    /// The type a record's sysFlag names; `None` when the body is not compressed or the type is unknown.
    pub fn of(flags: i32) -> Option<Self> {
        if flags & sys_flag::COMPRESSED == 0 {
            return None;
        }
        match (flags >> 8) & 0x7 {
            0 | 3 => Some(Self::Zlib), // senders before 4.9.4 leave the type bits empty
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The sysFlag bits of a body compressed this way.
    pub fn bits(self) -> i32 {
        let kind = match self {
            Self::Lz4 => 1,
            Self::Zstd => 2,
            Self::Zlib => 3,
        };
        sys_flag::COMPRESSED | kind << 8
    }

    /// Compresses a body; `level` 1 to 9, of which LZ4 frames know only one.
    pub fn compress(self, body: &[u8], level: u32) -> io::Result<Vec<u8>> {
        match self {
            Self::Zlib => {
                let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(level));
                out.write_all(body)?;
                out.finish()
            }
            Self::Lz4 => {
                let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
                out.write_all(body)?;
                out.finish().map_err(io::Error::other)
            }
            Self::Zstd => zstd::encode_all(body, i32::try_from(level).unwrap_or(5)),
        }
    }

    /// Inflates a body to at most `limit` bytes: a small body must not become a memory bomb.
    pub fn decompress(self, body: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let most = limit as u64 + 1;
        match self {
            Self::Zlib => flate2::read::ZlibDecoder::new(body).take(most).read_to_end(&mut out)?,
            Self::Lz4 => lz4_flex::frame::FrameDecoder::new(body).take(most).read_to_end(&mut out)?,
            Self::Zstd => zstd::Decoder::new(body)?.take(most).read_to_end(&mut out)?,
        };
        if out.len() > limit {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the body inflates to more than {limit} bytes"),
            ));
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sys_flags_name_the_type() {
        assert_eq!(Compression::of(0x000), None);
        assert_eq!(Compression::of(0x001), Some(Compression::Zlib));
        assert_eq!(Compression::of(0x101), Some(Compression::Lz4));
        assert_eq!(Compression::of(0x201), Some(Compression::Zstd));
        assert_eq!(Compression::of(0x301), Some(Compression::Zlib));
        assert_eq!(Compression::of(0x300), None);
        for kind in [Compression::Zlib, Compression::Lz4, Compression::Zstd] {
            assert_eq!(Compression::of(kind.bits()), Some(kind));
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let small = Compression::Zlib.compress(&vec![0; 1 << 20], 5).unwrap();
        assert!(Compression::Zlib.decompress(&small, 1000).is_err());
        assert_eq!(Compression::Zlib.decompress(&small, 1 << 20).unwrap().len(), 1 << 20);
    }

    proptest! {
        #[test]
        fn bodies_come_back(body in proptest::collection::vec(any::<u8>(), 0..2000), level in 1u32..9) {
            for kind in [Compression::Zlib, Compression::Lz4, Compression::Zstd] {
                let packed = kind.compress(&body, level).unwrap();
                prop_assert_eq!(kind.decompress(&packed, 2000).unwrap(), body.clone());
            }
        }

        #[test]
        fn garbage_is_an_error_or_bytes(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for kind in [Compression::Zlib, Compression::Lz4, Compression::Zstd] {
                let _ = kind.decompress(&body, 1 << 16);
            }
        }
    }
}
