//! The machine that a pickle is a program for.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Array, Bytes, Global, MOST_VALUES, Object, Value, bytes_of};
use crate::Error;
use crate::data::formats::npy::Type;

/// The letters of instructions whose names say nothing.
mod code {
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const TUPLE1: u8 = 0x85;
    pub(super) const TUPLE2: u8 = 0x86;
    pub(super) const TUPLE3: u8 = 0x87;
    pub(super) const NEW_TRUE: u8 = 0x88;
    pub(super) const NEW_FALSE: u8 = 0x89;
    pub(super) const LONG1: u8 = 0x8a;
    pub(super) const SHORT_TEXT: u8 = 0x8c;
    pub(super) const TEXT8: u8 = 0x8d;
    pub(super) const BYTES8: u8 = 0x8e;
    pub(super) const STACK_GLOBAL: u8 = 0x93;
    pub(super) const MEMOIZE: u8 = 0x94;
    pub(super) const FRAME: u8 = 0x95;
    pub(super) const BYTE_ARRAY8: u8 = 0x96;
}

/// Objects, bytes that were made from texts, and the value at the end.
pub(super) type Outcome = (Vec<Object>, Vec<Vec<u8>>, Value);

/// Runs a pickle to its end.
pub(super) fn run(place: &Path, file: &[u8]) -> Result<Outcome, Error> {
    let mut machine = Machine::new(place, file);
    loop {
        machine.start = machine.at;
        let instruction = machine.byte()?;
        if instruction == b'.' {
            let top = machine.pop()?;
            return Ok((machine.objects, machine.made, top));
        }
        machine.step(instruction)?;
    }
}

struct Machine<'a> {
    place: &'a Path,
    file: &'a [u8],
    /// The next byte.
    at: usize,
    /// The byte of the instruction in work.
    start: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: BTreeMap<u64, Value>,
    objects: Vec<Object>,
    made: Vec<Vec<u8>>,
    /// Bytes of all that was made: no more than the file has.
    made_length: usize,
    pushed: usize,
}

impl<'a> Machine<'a> {
    const fn new(place: &'a Path, file: &'a [u8]) -> Self {
        Self {
            place,
            file,
            at: 0,
            start: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
            objects: Vec::new(),
            made: Vec::new(),
            made_length: 0,
            pushed: 0,
        }
    }

    fn step(&mut self, instruction: u8) -> Result<(), Error> {
        match instruction {
            code::PROTO => self.take(1).map(drop),
            code::FRAME => self.take(8).map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                self.count()
            }
            b'0' => self.pop().map(drop),
            b'N' => self.push(Value::None),
            code::NEW_TRUE => self.push(Value::Bool(true)),
            code::NEW_FALSE => self.push(Value::Bool(false)),
            b'I' | b'L' | b'F' | b'J' | b'K' | b'M' | b'G' | code::LONG1 => self.number(instruction),
            b'S' | b'V' => self.quoted(instruction),
            b'U' | b'C' | code::SHORT_TEXT => self.counted(1),
            b'T' | b'X' | b'B' => self.counted(4),
            code::TEXT8 | code::BYTES8 | code::BYTE_ARRAY8 => self.counted(8),
            b'q' | b'r' | b'p' | code::MEMOIZE => self.remember(instruction),
            b'h' | b'j' | b'g' => self.recall(instruction),
            b'c' | code::STACK_GLOBAL => self.global(instruction),
            b'R' => self.reduce(),
            b'b' => self.build(),
            _ => self.container(instruction),
        }
    }

    /// Instructions that make lists, tuples and dictionaries, or add to them.
    fn container(&mut self, instruction: u8) -> Result<(), Error> {
        match instruction {
            b']' => self.push_object(Object::List(Vec::new())),
            b')' => self.push_object(Object::Tuple(Vec::new())),
            b'}' => self.push_object(Object::Dict(Vec::new())),
            code::TUPLE1 => self.tuple(1),
            code::TUPLE2 => self.tuple(2),
            code::TUPLE3 => self.tuple(3),
            b't' => {
                let items = self.behind_mark()?;
                self.push_object(Object::Tuple(items))
            }
            b'l' => {
                let items = self.behind_mark()?;
                self.push_object(Object::List(items))
            }
            b'd' => {
                let items = self.behind_mark()?;
                let pairs = self.pairs(&items)?;
                self.push_object(Object::Dict(pairs))
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])
            }
            b'e' => {
                let items = self.behind_mark()?;
                self.append(&items)
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![(key, value)])
            }
            b'u' => {
                let items = self.behind_mark()?;
                let pairs = self.pairs(&items)?;
                self.set(pairs)
            }
            _ => Err(self.refuse(format!("instruction {instruction:02x}, which no data set needs, stands"))),
        }
    }

    fn number(&mut self, instruction: u8) -> Result<(), Error> {
        let little = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
        let value = match instruction {
            b'K' => Some(little(self.take(1)?).cast_signed()),
            b'M' => Some(little(self.take(2)?).cast_signed()),
            b'J' => Some(i64::from(little(self.take(4)?) as u32 as i32)),
            b'G' => {
                self.take(8)?;
                return self.push(Value::Float);
            }
            b'F' => {
                self.line()?;
                return self.push(Value::Float);
            }
            code::LONG1 => {
                let length = usize::from(self.byte()?);
                let bytes = self.take(length)?;
                let unused = 64 - 8 * length.min(8) as u32;
                let value = little(bytes).unbounded_shl(unused).cast_signed().unbounded_shr(unused);
                (length <= 8).then_some(value)
            }
            _ => match (instruction, self.line()?) {
                (b'I', b"00") => return self.push(Value::Bool(false)),
                (b'I', b"01") => return self.push(Value::Bool(true)),
                (_, line) => std::str::from_utf8(line).ok().and_then(|text| text.trim_end_matches('L').parse().ok()),
            },
        };
        let value = value.ok_or_else(|| self.refuse("a number that is none or too long stands".into()))?;
        self.push(Value::Int(value))
    }

    /// A text of protocol 0: in quotes with escapes, or bare with escapes.
    fn quoted(&mut self, instruction: u8) -> Result<(), Error> {
        let line = self.line()?;
        let inner = match line {
            [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] if instruction == b'S' => inner,
            _ if instruction == b'V' => line,
            _ => return Err(self.refuse("a text without quotes stands".into())),
        };
        if inner.contains(&b'\\') {
            let text = unescape(inner).ok_or_else(|| self.refuse("a text with an unknown escape stands".into()))?;
            let made = self.make(text)?;
            return self.push(Value::Bytes(made));
        }
        // The bytes lie in the file as they are.
        let quote = usize::from(instruction == b'S');
        let start = self.at - 1 - line.len() + quote;
        self.push(Value::Bytes(Bytes::File(start, inner.len())))
    }

    /// A text or bytes behind their length, which takes so many bytes.
    fn counted(&mut self, width: usize) -> Result<(), Error> {
        let length = self.take(width)?.iter().rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
        let start = self.at;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.take(length)?;
        self.push(Value::Bytes(Bytes::File(start, length)))
    }

    fn remember(&mut self, instruction: u8) -> Result<(), Error> {
        let key = if instruction == code::MEMOIZE { self.memo.len() as u64 } else { self.key(instruction, b"qr")? };
        let top = *self.stack.last().ok_or_else(|| self.refuse("too few values for the instruction stand".into()))?;
        self.memo.insert(key, top);
        self.count()
    }

    fn recall(&mut self, instruction: u8) -> Result<(), Error> {
        let key = self.key(instruction, b"hj")?;
        let value = self.memo.get(&key).copied();
        self.push(value.ok_or_else(|| self.refuse(format!("a value {key} that was not kept is wanted")))?)
    }

    /// The number of a kept value: in one byte, in four, or as a line.
    fn key(&mut self, instruction: u8, [one, four]: &[u8; 2]) -> Result<u64, Error> {
        let bytes = match instruction {
            _ if instruction == *one => self.take(1)?,
            _ if instruction == *four => self.take(4)?,
            _ => {
                let key = std::str::from_utf8(self.line()?).ok().and_then(|text| text.parse().ok());
                return key.ok_or_else(|| self.refuse("a number that is none stands".into()));
            }
        };
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// A name: in two lines, or as two texts on the stack.
    fn global(&mut self, instruction: u8) -> Result<(), Error> {
        let (module, name) = if instruction == b'c' {
            (self.line()?, self.line()?)
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            (self.content(module)?, self.content(name)?)
        };
        let known = match (module, name) {
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => Global::Reconstruct,
            (b"numpy.core.numeric" | b"numpy._core.numeric", b"_frombuffer") => Global::FromBuffer,
            (b"numpy", b"ndarray") => Global::Array,
            (b"numpy", b"dtype") => Global::Type,
            (b"_codecs", b"encode") => Global::Encode,
            _ => {
                let shown = |text: &[u8]| String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
                let name = format!("{}.{}", shown(module), shown(name));
                return Err(self
                    .refuse(format!("{name}, which is no part of a data set, is called"))
                    .with_hint("nothing was run; a pickle that names it may do harm, and is not read"));
            }
        };
        self.push(Value::Global(known))
    }

    /// A call of a known name.
    fn reduce(&mut self) -> Result<(), Error> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Some(Object::Tuple(arguments)) = self.object(arguments) else { return Err(self.no_array()) };
        match (callee, &arguments[..]) {
            (Value::Global(Global::Reconstruct), [Value::Global(Global::Array), ..]) => {
                self.push_object(Object::Array(None))
            }
            (Value::Global(Global::Type), &[Value::Bytes(name), ..]) => {
                let name = std::str::from_utf8(bytes_of(self.file, &self.made, name)).ok();
                let of = name.and_then(Type::of);
                self.push_object(Object::Type(of))
            }
            (Value::Global(Global::Encode), &[Value::Bytes(text), ..]) => {
                let bytes = latin1(bytes_of(self.file, &self.made, text)).ok_or_else(|| self.no_array())?;
                let made = self.make(bytes)?;
                self.push(Value::Bytes(made))
            }
            (Value::Global(Global::FromBuffer), &[Value::Bytes(bytes), of, shape, Value::Bytes(order)]) => {
                let fortran = bytes_of(self.file, &self.made, order) == b"F";
                let array = self.array(shape, of, fortran, bytes)?;
                self.push_object(Object::Array(Some(array.into())))
            }
            _ => Err(self.no_array()),
        }
    }

    /// Gives an array its content, or a type its order of bytes.
    fn build(&mut self) -> Result<(), Error> {
        let state = self.pop()?;
        let target = self.stack.last().copied();
        let Some(Object::Tuple(state)) = self.object(state) else { return Err(self.no_array()) };
        let built = match (target.and_then(|target| self.object(target)), &state[..]) {
            (Some(Object::Array(_)), &[Value::Int(_), shape, of, fortran, Value::Bytes(bytes)]) => {
                let fortran = matches!(fortran, Value::Bool(true) | Value::Int(1));
                Object::Array(Some(self.array(shape, of, fortran, bytes)?.into()))
            }
            (Some(Object::Type(Some(of))), &[_, Value::Bytes(order), ..]) => {
                let big = bytes_of(self.file, &self.made, order) == b">";
                Object::Type(Some(Type { big, ..*of }))
            }
            (Some(Object::Type(None)), _) => Object::Type(None),
            _ => return Err(self.no_array()),
        };
        match target {
            Some(Value::Object(index)) => self.objects[index as usize] = built,
            _ => return Err(self.no_array()),
        }
        Ok(())
    }

    fn array(&self, shape: Value, of: Value, fortran: bool, bytes: Bytes) -> Result<Array, Error> {
        let (Some(Object::Tuple(sides)), Some(Object::Type(Some(of)))) = (self.object(shape), self.object(of)) else {
            return Err(self.no_array());
        };
        let side = |side: &Value| if let Value::Int(side) = side { usize::try_from(*side).ok() } else { None };
        let shape: Option<Vec<usize>> = sides.iter().map(side).collect();
        Ok(Array { shape: shape.ok_or_else(|| self.no_array())?, of: *of, fortran, bytes })
    }

    fn tuple(&mut self, length: usize) -> Result<(), Error> {
        let start = self.stack.len().checked_sub(length).ok_or_else(|| self.too_few())?;
        let items = self.stack.split_off(start);
        self.push_object(Object::Tuple(items))
    }

    fn append(&mut self, items: &[Value]) -> Result<(), Error> {
        match self.target() {
            Some(Object::List(list)) => list.extend_from_slice(items),
            _ => return Err(self.refuse("an item for something that is no list stands".into())),
        }
        Ok(())
    }

    fn set(&mut self, items: Vec<(Value, Value)>) -> Result<(), Error> {
        match self.target() {
            Some(Object::Dict(pairs)) => pairs.extend(items),
            _ => return Err(self.refuse("an entry for something that is no dictionary stands".into())),
        }
        Ok(())
    }

    fn pairs(&self, items: &[Value]) -> Result<Vec<(Value, Value)>, Error> {
        if !items.len().is_multiple_of(2) {
            return Err(self.refuse("a key without a value stands".into()));
        }
        Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    /// The object on top of the stack.
    fn target(&mut self) -> Option<&mut Object> {
        match self.stack.last() {
            Some(&Value::Object(index)) => self.objects.get_mut(index as usize),
            _ => None,
        }
    }

    fn object(&self, value: Value) -> Option<&Object> {
        if let Value::Object(index) = value { self.objects.get(index as usize) } else { None }
    }

    fn content(&self, value: Value) -> Result<&'a [u8], Error> {
        match value {
            Value::Bytes(Bytes::File(start, length)) => Ok(&self.file[start..start + length]),
            _ => Err(self.refuse("a name that is no text stands".into())),
        }
    }

    fn behind_mark(&mut self) -> Result<Vec<Value>, Error> {
        match self.marks.pop().filter(|&mark| mark <= self.stack.len()) {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.too_few()),
        }
    }

    fn make(&mut self, bytes: Vec<u8>) -> Result<Bytes, Error> {
        self.made_length += bytes.len();
        if self.made_length > self.file.len() {
            return Err(self.refuse("a text that is used more than once stands".into()));
        }
        self.made.push(bytes);
        Ok(Bytes::Made(self.made.len() as u32 - 1))
    }

    fn push_object(&mut self, object: Object) -> Result<(), Error> {
        self.objects.push(object);
        self.push(Value::Object(self.objects.len() as u32 - 1))
    }

    fn push(&mut self, value: Value) -> Result<(), Error> {
        self.stack.push(value);
        self.count()
    }

    fn count(&mut self) -> Result<(), Error> {
        self.pushed += 1;
        if self.pushed > MOST_VALUES {
            return Err(self.refuse(format!("more than {MOST_VALUES} values, which no data set has, stand")));
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Value, Error> {
        let value = self.stack.pop();
        value.ok_or_else(|| self.too_few())
    }

    fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let rest = self.file.get(self.at..).unwrap_or_default();
        let Some(bytes) = rest.get(..length) else {
            let end = self.file.len();
            return Err(Error::file(self.place, format!("ends at byte {end}, inside the pickle"))
                .at(end as u64)
                .with_hint("copy or download it again"));
        };
        self.at += length;
        Ok(bytes)
    }

    /// The bytes up to the end of the line.
    fn line(&mut self) -> Result<&'a [u8], Error> {
        let rest = &self.file[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        let line = self.take(length)?;
        self.take(1)?;
        Ok(line)
    }

    fn too_few(&self) -> Error {
        self.refuse("too few values for the instruction stand".into())
    }

    fn no_array(&self) -> Error {
        self.refuse("a call that makes no array of numbers stands".into())
    }

    fn refuse(&self, what: String) -> Error {
        Error::file(self.place, format!("is no pickle of a data set: {what} at byte {}", self.start))
            .at(self.start as u64)
    }
}

/// The bytes that a text of letters below 256 stands for; none where it has others.
fn latin1(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    text.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect()
}

/// A text with Python's escapes `\n`, `\\`, `\'`, `\"`, `\t`, `\r` and `\xHH`.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match *rest.next()? {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            escaped @ (b'\\' | b'\'' | b'"') => escaped,
            b'x' => {
                let mut digit = || char::from(*rest.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            _ => return None,
        });
    }
    Some(bytes)
}
