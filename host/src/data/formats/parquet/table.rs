//! A Parquet file of pictures and labels: which columns they are, and what its metadata say about them.

use std::fs::File;
use std::path::{Path, PathBuf};

use ::parquet::basic::{CompressionCodec, Type as Physical};
use ::parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int32Type, Int64Type};
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use ::parquet::schema::types::ColumnDescriptor;

use super::pages::{Chunk, Place, Refusal, Values};
use crate::Error;
use crate::data::formats::shards::Label;
use crate::data::{foreign, length_of};

/// Columns of pictures, by the names that they have where data sets are shared; the first that is there counts.
const PICTURES: [&str; 3] = ["image", "img", "pixel_values"];
/// Columns of labels.
const LABELS: [&str; 4] = ["label", "labels", "fine_label", "target"];

/// An open file.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) path: PathBuf,
    file: File,
    metadata: ParquetMetaData,
    picture: usize,
    /// The names of files, beside the bytes of pictures.
    beside: Option<usize>,
    label: usize,
    /// What the labels' numbers stand for.
    pub(super) names: Option<Vec<String>>,
}

impl Table {
    /// Reads a file's metadata.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(|_| {
            let error = Error::file(path, "is no whole Parquet file: the metadata at its end are missing or damaged");
            match foreign::advice(path).filter(|advice| !advice.contains("Parquet")) {
                Some(advice) => error.with_hint(advice),
                None => error.with_hint("copy or download it again"),
            }
        })?;
        let columns = metadata.file_metadata().schema_descr().columns();
        let columns: Vec<&ColumnDescriptor> = columns.iter().map(|column| &**column).collect();
        let picture = picture(path, &columns)?;
        let label = label(path, &columns)?;
        let beside = parts(columns[picture]).split_last().and_then(|(_, within)| {
            columns.iter().position(|column| {
                let (last, before) = parts(column).split_last().map_or(("", &[][..]), |(last, before)| (last, before));
                last == "path" && !before.is_empty() && before == within
            })
        });
        let names = names(&metadata, &parts(columns[label])[0]);
        let table = Self { path: path.to_owned(), file, picture, beside, label, names, metadata };
        table.check_rows()?;
        Ok(table)
    }

    /// A file that promises more rows than it has bytes would take memory for nothing.
    fn check_rows(&self) -> Result<(), Error> {
        let rows = |rows: u64, group: usize| rows.saturating_add(self.rows(group) as u64);
        let rows = (0..self.groups()).fold(0, rows);
        let length = length_of(&self.path)?;
        if rows > length {
            return Err(Error::file(&self.path, format!("promises {rows} rows in {length} bytes")));
        }
        Ok(())
    }

    pub(super) fn groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    fn rows(&self, group: usize) -> usize {
        usize::try_from(self.metadata.row_group(group).num_rows()).unwrap_or(usize::MAX)
    }

    /// The pictures' part of a row group.
    pub(super) fn pictures(&self, group: usize) -> Result<Chunk, Error> {
        self.chunk(group, self.picture)
    }

    fn chunk(&self, group: usize, column: usize) -> Result<Chunk, Error> {
        let column = self.metadata.row_group(group).columns().get(column).ok_or(Refusal::Damaged);
        column.and_then(Chunk::new).map_err(|refusal| refused(&self.path, refusal))
    }

    /// Calls `take` with each data page of a row group's pictures; all of them together have its rows.
    pub(super) fn each_page(
        &self,
        group: usize,
        mut take: impl FnMut(Place, Values<'_>) -> Result<usize, Refusal>,
    ) -> Result<(), Error> {
        let mut rows = 0;
        let count = |place: Place, values: Values<'_>| {
            rows += take(place, values)?;
            Ok(())
        };
        let read = self.pictures(group)?.each_page(&self.file, count);
        read.map_err(|refusal| refused(&self.path, refusal))?;
        if rows == self.rows(group) { Ok(()) } else { Err(refused(&self.path, Refusal::Damaged)) }
    }

    /// The labels of a row group; none where they are null.
    pub(super) fn labels(&self, group: usize) -> Result<Vec<Option<Label>>, Error> {
        let chunk = self.chunk(group, self.label)?;
        let column = self.metadata.file_metadata().schema_descr().column(self.label);
        let is_unsigned = matches!(
            column.logical_type_ref(),
            Some(::parquet::basic::LogicalType::Integer(kind)) if !kind.is_signed
        );
        let rows = self.rows(group);
        let mut labels: Vec<Option<Label>> = Vec::new();
        let mut push = |label: Option<Label>| {
            labels.push(label);
            if labels.len() > rows { Err(Refusal::Damaged) } else { Ok(()) }
        };
        let read = chunk.each_page(&self.file, |_, values| match column.physical_type() {
            Physical::INT32 => values.each::<Int32Type>(|value| {
                let integer = |&value: &i32| if is_unsigned { value.cast_unsigned().into() } else { value.into() };
                push(value.map(|value| Label::Index(integer(value))))
            }),
            Physical::INT64 => values.each::<Int64Type>(|value| push(value.map(|&value| Label::Index(value)))),
            Physical::BOOLEAN => values.each::<BoolType>(|value| push(value.map(|&value| Label::Index(value.into())))),
            _ => values.each::<ByteArrayType>(|value| push(value.map(name))),
        });
        read.map_err(|refusal| refused(&self.path, refusal))?;
        if labels.len() == rows { Ok(labels) } else { Err(refused(&self.path, Refusal::Damaged)) }
    }

    /// The name of the file that a row of a group has in place of a picture.
    pub(super) fn named(&self, group: usize, row: usize) -> Option<String> {
        let mut found = None;
        let mut at = 0;
        let chunk = self.chunk(group, self.beside?).ok()?;
        let read = chunk.each_page(&self.file, |_, values| {
            values.each::<ByteArrayType>(|value| {
                if at == row {
                    found = value.map(|value| String::from_utf8_lossy(value.data()).into_owned());
                }
                at += 1;
                Ok(())
            })
        });
        read.ok()?;
        found
    }
}

fn name(value: &ByteArray) -> Label {
    Label::Name(String::from_utf8_lossy(value.data()).into_owned())
}

/// What a refusal says of a file.
pub(super) fn refused(path: &Path, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Io(source) => Error::io(path, source),
        Refusal::Damaged => Error::file(path, "is damaged: a page of its pictures or labels cannot be read")
            .with_hint("copy or download it again"),
        Refusal::Codec(codec) => {
            let name = match codec {
                CompressionCodec::BROTLI => "Brotli",
                CompressionCodec::LZ4 | CompressionCodec::LZ4_RAW => "LZ4",
                CompressionCodec::LZO => "LZO",
                _ => "a codec",
            };
            Error::file(path, format!("is compressed by {name}, which is not read; snappy, gzip, zstd and none are"))
                .with_hint("in Python: pyarrow.parquet.write_table(pyarrow.parquet.read_table(FILE), NEW, compression='snappy')")
        }
    }
}

fn parts(column: &ColumnDescriptor) -> &[String] {
    column.path().parts()
}

/// The column of pictures' bytes: binary itself, or the field `bytes` of a struct.
fn picture(path: &Path, columns: &[&ColumnDescriptor]) -> Result<usize, Error> {
    let is_binary =
        |column: &ColumnDescriptor| column.physical_type() == Physical::BYTE_ARRAY && column.max_rep_level() == 0;
    let of = |name: &str| {
        columns.iter().position(|column| {
            let parts = parts(column);
            let is_one = parts.len() == 1 || (parts.len() == 2 && parts[1] == "bytes");
            parts[0] == name && is_one && is_binary(column)
        })
    };
    PICTURES.iter().find_map(|name| of(name)).ok_or_else(|| {
        let message = format!("has no column of pictures; its columns are {}", tops(columns).join(", "));
        let hint = "read are image, img and pixel_values, each a struct of bytes and path, or binary";
        Error::file(path, message).with_hint(hint)
    })
}

/// The column of labels: integers, truth values or texts.
fn label(path: &Path, columns: &[&ColumnDescriptor]) -> Result<usize, Error> {
    let tops = tops(columns);
    let hint = "read are label, labels, fine_label and target, one integer or text a row";
    let Some(name) = LABELS.into_iter().find(|name| tops.contains(name)) else {
        let message = format!("has no column of labels; its columns are {}", tops.join(", "));
        return Err(Error::file(path, message).with_hint(hint));
    };
    let is_one = |column: &&ColumnDescriptor| {
        let is_read = matches!(
            column.physical_type(),
            Physical::INT32 | Physical::INT64 | Physical::BOOLEAN | Physical::BYTE_ARRAY
        );
        parts(column) == [name] && is_read && column.max_rep_level() == 0
    };
    columns
        .iter()
        .position(is_one)
        .ok_or_else(|| Error::file(path, format!("{name} is no column of one integer or text a row")).with_hint(hint))
}

/// The names of the outermost columns.
fn tops<'a>(columns: &[&'a ColumnDescriptor]) -> Vec<&'a str> {
    let mut tops: Vec<&str> = columns.iter().filter_map(|column| parts(column).first()).map(String::as_str).collect();
    tops.dedup();
    tops
}

/// The names of the classes of a column, where the metadata have them as Hugging Face's libraries write them:
/// `{"info": {"features": {COLUMN: {"names": [..], "_type": "ClassLabel"}}}}` under the key `huggingface`.
fn names(metadata: &ParquetMetaData, column: &str) -> Option<Vec<String>> {
    let pairs = metadata.file_metadata().key_value_metadata()?;
    let text = pairs.iter().find(|pair| pair.key == "huggingface")?.value.as_deref()?;
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let names = value.get("info")?.get("features")?.get(column)?.get("names")?.as_array()?;
    let names: Option<Vec<String>> = names.iter().map(|name| name.as_str().map(Into::into)).collect();
    names.filter(|names| !names.is_empty())
}
