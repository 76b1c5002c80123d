//! Documents through serde: what a program's own types ask for, read from the nodes.
//!
//! An error says what was expected and what kind of value was there, and where; never the value, a member's name or what a
//! type's own check said about it, since all of those repeat content.

use std::fmt;

use serde_core::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde_core::forward_to_deserialize_any;

use super::Data;
use super::value::{Elements, Members, Value};

/// Why a valid document is not of the type asked for, and where. Never holds content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeserializeError {
    what: Box<str>,
    /// Unknown until it has passed the value that it arose in.
    offset: Option<u64>,
}

impl DeserializeError {
    fn new(what: impl fmt::Display) -> Self {
        Self { what: what.to_string().into(), offset: None }
    }

    /// Where the value starts that does not fit, in bytes of the text that was parsed, from 0.
    pub fn offset(&self) -> u64 {
        self.offset.unwrap_or(0)
    }

    fn at(mut self, value: Value<'_>) -> Self {
        self.offset.get_or_insert(value.offset());
        self
    }
}

impl fmt::Display for DeserializeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.offset())
    }
}

impl std::error::Error for DeserializeError {}

impl de::Error for DeserializeError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::new("a value that the type refuses")
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format_args!("{} instead of {expected}", kind(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format_args!("{} that is not {expected}", kind(found)))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(format_args!("{length} elements instead of {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format_args!("none of the variants {expected:?}"))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format_args!("a member that is none of {expected:?}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format_args!("an object without the member `{field}`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format_args!("an object with the member `{field}` more than once"))
    }
}

fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a number",
        Unexpected::Char(_) | Unexpected::Str(_) => "a string",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "an array",
        Unexpected::Map => "an object",
        _ => "a value",
    }
}

pub(super) fn from_value<'d, T: Deserialize<'d>>(value: Value<'d>) -> Result<T, DeserializeError> {
    T::deserialize(ValueDeserializer(value)).map_err(|error| error.at(value))
}

struct ValueDeserializer<'d>(Value<'d>);

impl<'d> Deserializer<'d> for ValueDeserializer<'d> {
    type Error = DeserializeError;

    fn deserialize_any<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0.data() {
            Data::Null => visitor.visit_unit(),
            Data::Bool(value) => visitor.visit_bool(value),
            Data::Signed(value) => visitor.visit_i64(value.bits().cast_signed()),
            Data::Unsigned(value) => visitor.visit_u64(value.bits()),
            Data::Float(value) => visitor.visit_f64(f64::from_bits(value.bits())),
            Data::Str { .. } => visitor.visit_borrowed_str(self.0.as_str().unwrap_or_default()),
            Data::Array { .. } => {
                let Some(mut elements) = self.0.as_array() else { return visitor.visit_unit() };
                let value = visitor.visit_seq(Sequence(&mut elements))?;
                match elements.next() {
                    None => Ok(value),
                    Some(_) => Err(DeserializeError::new("an array of more elements than the type takes")),
                }
            }
            Data::Object { .. } => {
                let Some(mut members) = self.0.as_object() else { return visitor.visit_unit() };
                let value = visitor.visit_map(Map { members: &mut members, named: None })?;
                match members.next() {
                    None => Ok(value),
                    Some(_) => Err(DeserializeError::new("an object of more members than the type takes")),
                }
            }
        }
    }

    fn deserialize_f32<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_f64(visitor)
    }

    /// As an integer, zero would lose its sign.
    fn deserialize_f64<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match (self.0.data(), self.0.as_f64()) {
            (Data::Signed(_), Some(value)) => visitor.visit_f64(value),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0.data() {
            Data::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'d>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    /// A string names a variant without content; an object of one member one with.
    fn deserialize_enum<V: Visitor<'d>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        if self.0.as_str().is_some() {
            return visitor.visit_enum(Variant { name: self.0, content: None });
        }
        let Some(mut members) = self.0.as_object() else { return self.deserialize_any(visitor) };
        let (name, content) = (members.next_name(), members.next_value());
        match (name, members.next()) {
            (Some(name), None) => visitor.visit_enum(Variant { name, content }),
            _ => Err(DeserializeError::new("an object that is not of one member, the name of a variant")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        <V: Visitor<'d>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier
    }
}

struct Sequence<'s, 'd>(&'s mut Elements<'d>);

impl<'d> SeqAccess<'d> for Sequence<'_, 'd> {
    type Error = DeserializeError;

    fn next_element_seed<T: DeserializeSeed<'d>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Self::Error> {
        self.0.next().map(|value| seed_with(seed, value)).transpose()
    }
}

struct Map<'s, 'd> {
    members: &'s mut Members<'d>,
    /// The name whose value is next.
    named: Option<Value<'d>>,
}

impl<'d> MapAccess<'d> for Map<'_, 'd> {
    type Error = DeserializeError;

    fn next_key_seed<K: DeserializeSeed<'d>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        self.named = self.members.next_name();
        let Some(name) = self.named else { return Ok(None) };
        seed.deserialize(NameDeserializer(name)).map(Some).map_err(|error| error.at(name))
    }

    fn next_value_seed<V: DeserializeSeed<'d>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        match self.members.next_value() {
            Some(value) => seed_with(seed, value),
            None => Err(DeserializeError::new("a member without a value")),
        }
    }
}

fn seed_with<'d, T: DeserializeSeed<'d>>(seed: T, value: Value<'d>) -> Result<T::Value, DeserializeError> {
    seed.deserialize(ValueDeserializer(value)).map_err(|error| error.at(value))
}

/// The name of a member, which is a string in JSON and may be a number or a truth value in a program's map.
struct NameDeserializer<'d>(Value<'d>);

impl<'d> NameDeserializer<'d> {
    fn text(&self) -> &'d str {
        self.0.as_str().unwrap_or_default()
    }
}

/// A name that is asked for as a number or a truth value is one if it reads as one.
macro_rules! parsed_names {
    ($($method:ident $visit:ident)*) => {$(
        fn $method<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            match self.text().parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'d> Deserializer<'d> for NameDeserializer<'d> {
    type Error = DeserializeError;

    fn deserialize_any<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_str(self.text())
    }

    parsed_names! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i8 deserialize_i16 visit_i16 deserialize_i32 visit_i32
        deserialize_i64 visit_i64 deserialize_i128 visit_i128
        deserialize_u8 visit_u8 deserialize_u16 visit_u16 deserialize_u32 visit_u32
        deserialize_u64 visit_u64 deserialize_u128 visit_u128
        deserialize_f32 visit_f32 deserialize_f64 visit_f64
    }

    fn deserialize_option<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'d>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'d>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_enum(Variant { name: self.0, content: None })
    }

    forward_to_deserialize_any! {
        <V: Visitor<'d>>
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Variant<'d> {
    name: Value<'d>,
    content: Option<Value<'d>>,
}

impl<'d> EnumAccess<'d> for Variant<'d> {
    type Error = DeserializeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'d>>(self, seed: V) -> Result<(V::Value, Self), Self::Error> {
        let name = seed.deserialize(NameDeserializer(self.name)).map_err(|error| error.at(self.name))?;
        Ok((name, self))
    }
}

impl<'d> VariantAccess<'d> for Variant<'d> {
    type Error = DeserializeError;

    fn unit_variant(self) -> Result<(), Self::Error> {
        self.content.map_or(Ok(()), from_value)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'d>>(self, seed: T) -> Result<T::Value, Self::Error> {
        seed_with(seed, self.content()?)
    }

    fn tuple_variant<V: Visitor<'d>>(self, _: usize, visitor: V) -> Result<V::Value, Self::Error> {
        let content = self.content()?;
        match content.as_array() {
            Some(_) => ValueDeserializer(content).deserialize_any(visitor),
            None => Err(DeserializeError::new("a variant whose content is no array")),
        }
        .map_err(|error| error.at(content))
    }

    fn struct_variant<V: Visitor<'d>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let content = self.content()?;
        ValueDeserializer(content).deserialize_any(visitor).map_err(|error| error.at(content))
    }
}

impl<'d> Variant<'d> {
    fn content(&self) -> Result<Value<'d>, DeserializeError> {
        let missing = || DeserializeError::new("a variant without its content").at(self.name);
        self.content.ok_or_else(missing)
    }
}
