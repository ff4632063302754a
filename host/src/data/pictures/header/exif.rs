//! EXIF: the one entry of it that matters, which side is up.

/// The tag `Orientation`, and the type of a number of 16 bits.
const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;

/// The orientation that a block of EXIF says, 1 to 8; 1 where it says none or is broken. `Exif\0\0` may stand in front.
pub(super) fn orientation(block: &[u8]) -> u8 {
    let block = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    entry(block).unwrap_or(1)
}

fn entry(block: &[u8]) -> Option<u8> {
    let little = match block.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = block.get(at..)?.first_chunk()?;
        Some(if little { u16::from_le_bytes(*bytes) } else { u16::from_be_bytes(*bytes) })
    };
    let long = |at: usize| {
        let bytes = block.get(at..)?.first_chunk()?;
        Some(if little { u32::from_le_bytes(*bytes) } else { u32::from_be_bytes(*bytes) })
    };
    let directory = long(4)? as usize;
    let first = directory.checked_add(2)?;
    let entries = (0..usize::from(short(directory)?)).map_while(|index| first.checked_add(12 * index));
    let found = entries.map_while(|at| Some((at, short(at)?))).find(|&(_, tag)| tag == ORIENTATION)?.0;
    let value = (short(found + 2)? == SHORT && long(found + 4)? == 1).then(|| short(found + 8))??;
    u8::try_from(value).ok().filter(|value| (1..=8).contains(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(endian: &[u8; 4], entries: &[[u8; 12]]) -> Vec<u8> {
        let little = endian[0] == b'I';
        let count = entries.len() as u16;
        let (at, count) = match little {
            true => (8_u32.to_le_bytes(), count.to_le_bytes()),
            false => (8_u32.to_be_bytes(), count.to_be_bytes()),
        };
        [&endian[..], &at, &count, &entries.concat()].concat()
    }

    #[test]
    fn orientations_are_read_in_both_orders_of_bytes() {
        let little =
            block(b"II*\0", &[[0x0f, 1, 2, 0, 9, 0, 0, 0, 0, 0, 0, 0], [0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0]]);
        let big = block(b"MM\0*", &[[1, 0x12, 0, 3, 0, 0, 0, 1, 0, 8, 0, 0]]);
        assert_eq!((orientation(&little), orientation(&big)), (6, 8));
        assert_eq!(orientation(&[b"Exif\0\0", &big[..]].concat()), 8);
        for end in 0..little.len() - 2 {
            assert_eq!(orientation(&little[..end]), 1, "{end}");
        }
    }

    #[test]
    fn what_is_broken_does_not_turn() {
        let entry =
            |kind: u8, count: u8, value: u8| block(b"MM\0*", &[[1, 0x12, 0, kind, 0, 0, 0, count, 0, value, 0, 0]]);
        assert_eq!(orientation(&entry(3, 1, 3)), 3);
        for broken in [entry(3, 1, 0), entry(3, 1, 9), entry(4, 1, 3), entry(3, 2, 3), b"II*\0\xff\xff\xff\xff".into()]
        {
            assert_eq!(orientation(&broken), 1, "{broken:?}");
        }
    }
}
