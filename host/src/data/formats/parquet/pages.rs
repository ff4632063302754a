//! Pages of a column: where they are, what is in them, and their values.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::parquet::basic::{CompressionCodec, Encoding};
use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::column::reader::ColumnReaderImpl;
use ::parquet::data_type::DataType;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::schema::types::ColumnDescPtr;
use bytes::Bytes;

use super::header::{DATA, DATA_V2, DICTIONARY, Header};

/// A page is at most as many times its bytes in the file, or as large as [`ALLOWED`]: pictures do not get smaller, and
/// labels are few.
const LARGEST_RATIO: u64 = 100;
const ALLOWED: u64 = 16 << 20;

/// Rows that are decoded at a time.
const ROWS: usize = 1024;

/// Why a page cannot be read.
#[derive(Debug)]
pub(super) enum Refusal {
    Io(io::Error),
    /// A codec that is not known here.
    Codec(CompressionCodec),
    Damaged,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        if matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof) { Self::Damaged } else { Self::Io(error) }
    }
}

impl From<ParquetError> for Refusal {
    fn from(_: ParquetError) -> Self {
        Self::Damaged
    }
}

/// A column's part in a row group.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    start: u64,
    length: u64,
    codec: CompressionCodec,
    column: ColumnDescPtr,
}

/// Where the data page of a chunk is, and its dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) dictionary: Option<u64>,
}

impl Chunk {
    pub(super) fn new(metadata: &ColumnChunkMetaData) -> Result<Self, Refusal> {
        let data = metadata.data_page_offset();
        let start = metadata.dictionary_page_offset().filter(|&at| at > 0).map_or(data, |at| at.min(data));
        let number = |number: i64| u64::try_from(number).map_err(|_| Refusal::Damaged);
        Ok(Self {
            start: number(start)?,
            length: number(metadata.compressed_size())?,
            codec: metadata.compression_codec(),
            column: metadata.column_descr_ptr(),
        })
    }

    /// Calls `take` with each data page in turn.
    pub(super) fn each_page(
        &self,
        file: &File,
        mut take: impl FnMut(Place, Values<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let (mut at, end) = (self.start, self.start.saturating_add(self.length));
        let mut dictionary: Option<(u64, Page)> = None;
        while at < end {
            let (page, next) = self.page(file, at)?;
            if let Some(page) = page {
                if page.is_dictionary_page() {
                    dictionary = Some((at, page));
                } else {
                    let place = Place { at, dictionary: dictionary.as_ref().map(|(at, _)| *at) };
                    let dictionary = dictionary.as_ref().map(|(_, page)| page.clone());
                    take(place, Values { column: &self.column, dictionary, page })?;
                }
            }
            at = next;
        }
        Ok(())
    }

    /// The data page at a place.
    pub(super) fn at(&self, file: &File, place: Place) -> Result<Values<'_>, Refusal> {
        let dictionary = place.dictionary.map(|at| self.page(file, at)).transpose()?.and_then(|(page, _)| page);
        let (page, _) = self.page(file, place.at)?;
        Ok(Values { column: &self.column, dictionary, page: page.ok_or(Refusal::Damaged)? })
    }

    /// The page at this byte, unless it is of a kind that is passed over, and the byte behind it.
    fn page(&self, mut file: &File, at: u64) -> Result<(Option<Page>, u64), Refusal> {
        file.seek(SeekFrom::Start(at))?;
        let left = self.start.saturating_add(self.length).saturating_sub(at);
        let mut reader = BufReader::with_capacity(1 << 16, file.take(left));
        let (header, length) = Header::read(&mut reader)?;
        let packed = u64::try_from(header.packed).map_err(|_| Refusal::Damaged)?;
        if length.saturating_add(packed) > left {
            return Err(Refusal::Damaged);
        }
        let next = at + length + packed;
        if !matches!(header.kind, DATA | DATA_V2 | DICTIONARY) {
            return Ok((None, next));
        }
        let mut bytes = Vec::with_capacity(packed as usize);
        reader.take(packed).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < packed {
            return Err(Refusal::Damaged);
        }
        Ok((Some(self.unpack(&header, bytes)?), next))
    }

    fn unpack(&self, header: &Header, bytes: Vec<u8>) -> Result<Page, Refusal> {
        let number = |number: i64| u32::try_from(number).map_err(|_| Refusal::Damaged);
        let (num_values, encoding) = (number(header.values)?, encoding(header.encoding)?);
        let unpacked = u64::try_from(header.unpacked).map_err(|_| Refusal::Damaged)?;
        if header.kind == DATA_V2 {
            let (definition, repetition) = (number(header.definition_bytes)?, number(header.repetition_bytes)?);
            let levels = definition as usize + repetition as usize;
            let (levels, values) = bytes.split_at_checked(levels).ok_or(Refusal::Damaged)?;
            let length = unpacked.checked_sub(levels.len() as u64).ok_or(Refusal::Damaged)?;
            // A page without a value has nothing to compress.
            let is_plain = header.is_plain || values.is_empty();
            let values = if is_plain { values.to_vec() } else { decompress(self.codec, values.to_vec(), length)? };
            return Ok(Page::DataPageV2 {
                buf: Bytes::from([levels, &values].concat()),
                num_values,
                encoding,
                num_nulls: number(header.nulls)?,
                num_rows: number(header.rows)?,
                def_levels_byte_len: definition,
                rep_levels_byte_len: repetition,
                is_compressed: false,
                statistics: None,
            });
        }
        let buf = Bytes::from(decompress(self.codec, bytes, unpacked)?);
        if header.kind == DICTIONARY {
            return Ok(Page::DictionaryPage { buf, num_values, encoding, is_sorted: false });
        }
        Ok(Page::DataPage {
            buf,
            num_values,
            encoding,
            def_level_encoding: self::encoding(header.definition)?,
            rep_level_encoding: self::encoding(header.repetition)?,
            statistics: None,
        })
    }
}

fn encoding(code: i64) -> Result<Encoding, Refusal> {
    Ok(match code {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        _ => return Err(Refusal::Damaged),
    })
}

/// The content of compressed bytes, of which the length is known.
fn decompress(codec: CompressionCodec, bytes: Vec<u8>, length: u64) -> Result<Vec<u8>, Refusal> {
    if length > (bytes.len() as u64).saturating_mul(LARGEST_RATIO).max(ALLOWED) {
        return Err(Refusal::Damaged);
    }
    let content = match codec {
        CompressionCodec::UNCOMPRESSED => bytes,
        CompressionCodec::SNAPPY => {
            if snap::raw::decompress_len(&bytes).ok() != Some(length as usize) {
                return Err(Refusal::Damaged);
            }
            snap::raw::Decoder::new().decompress_vec(&bytes).map_err(|_| Refusal::Damaged)?
        }
        CompressionCodec::GZIP => whole(flate2::read::MultiGzDecoder::new(&bytes[..]), length)?,
        CompressionCodec::ZSTD => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(&bytes[..]).map_err(|_| Refusal::Damaged)?;
            whole(decoder, length)?
        }
        other => return Err(Refusal::Codec(other)),
    };
    if content.len() as u64 == length { Ok(content) } else { Err(Refusal::Damaged) }
}

/// All that a reader gives, and one byte more than `length` at most.
fn whole(reader: impl Read, length: u64) -> Result<Vec<u8>, Refusal> {
    let mut content = Vec::with_capacity(length as usize);
    // Whatever a decoder calls it, what fails here is the data.
    reader.take(length + 1).read_to_end(&mut content).map_err(|_| Refusal::Damaged)?;
    Ok(content)
}

/// A data page with its dictionary.
pub(super) struct Values<'a> {
    column: &'a ColumnDescPtr,
    dictionary: Option<Page>,
    page: Page,
}

impl Values<'_> {
    /// Refuses encodings that values of this type, levels or a dictionary do not have.
    fn check(&self) -> Result<(), Refusal> {
        use ::parquet::basic::Type::{BOOLEAN, BYTE_ARRAY, INT32, INT64};
        use Encoding::{DELTA_BINARY_PACKED, DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY, PLAIN, PLAIN_DICTIONARY, RLE};
        let of_type = match self.column.physical_type() {
            BYTE_ARRAY => &[PLAIN, DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY][..],
            INT32 | INT64 => &[PLAIN, DELTA_BINARY_PACKED],
            BOOLEAN => &[PLAIN, RLE],
            _ => &[],
        };
        let is_of_dictionary = |encoding| matches!(encoding, PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY);
        let is_read = match &self.dictionary {
            Some(page) if is_of_dictionary(self.page.encoding()) => matches!(page.encoding(), PLAIN | PLAIN_DICTIONARY),
            _ => of_type.contains(&self.page.encoding()),
        };
        let levels = match self.page {
            Page::DataPage { def_level_encoding, .. } => def_level_encoding == RLE,
            Page::DataPageV2 { .. } => true,
            Page::DictionaryPage { .. } => false,
        };
        let has_levels = self.column.max_def_level() > 0;
        if is_read && (levels || !has_levels) { Ok(()) } else { Err(Refusal::Damaged) }
    }

    /// Calls `take` with each row's value; none where it is null. `T` has to be the column's type.
    pub(super) fn each<T: DataType>(
        self,
        mut take: impl FnMut(Option<&T::T>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.check()?;
        let rows = self.page.num_values() as usize;
        let largest = self.column.max_def_level();
        let mut reader = ColumnReaderImpl::<T>::new(
            self.column.clone(),
            Box::new(Few(self.dictionary.into_iter().chain([self.page]).collect())),
        );
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let mut read = 0;
        while read < rows {
            levels.clear();
            values.clear();
            // The decoders of the crate end the program at some of the things that a damaged page may hold.
            let (count, ..) = catch_unwind(AssertUnwindSafe(|| {
                reader.read_records(ROWS.min(rows - read), Some(&mut levels), None, &mut values)
            }))
            .map_err(|_| Refusal::Damaged)??;
            if count == 0 {
                return Err(Refusal::Damaged);
            }
            read += count;
            let mut values = values.iter();
            for row in 0..count {
                let is_there = largest == 0 || levels.get(row) == Some(&largest);
                take(if is_there { Some(values.next().ok_or(Refusal::Damaged)?) } else { None })?;
            }
        }
        Ok(())
    }
}

/// Pages that are there already.
struct Few(VecDeque<Page>);

impl Iterator for Few {
    type Item = ::parquet::errors::Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.pop_front().map(Ok)
    }
}

impl PageReader for Few {
    fn get_next_page(&mut self) -> ::parquet::errors::Result<Option<Page>> {
        Ok(self.0.pop_front())
    }

    fn peek_next_page(&mut self) -> ::parquet::errors::Result<Option<PageMetadata>> {
        Ok(None)
    }

    fn skip_next_page(&mut self) -> ::parquet::errors::Result<()> {
        self.0.pop_front();
        Ok(())
    }
}
