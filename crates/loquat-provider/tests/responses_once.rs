//! Of a Responses stream, everything is told once: whichever of the five events that hold a text a server sends, in whichever way it
//! numbers and names items and parts.
//!
//! A response is made up, and a stream of it by a server with habits; what has to come out follows from the response and from which
//! events of it were sent, not from the decoder. Each text begins with a letter of its own, as texts of one answer do.

mod support;

use std::collections::HashSet;

use loquat_provider::OPENAI_RESPONSES;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{SSE, decode};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Message,
    Thoughts,
    Summary,
    Call,
}

/// Which events there are of a text.
#[derive(Debug, Clone, Copy)]
struct Sent {
    pieces: bool,
    text: bool,
    part: bool,
}

#[derive(Debug, Clone)]
struct Part {
    length: usize,
    refusal: bool,
    cited: bool,
    likely: bool,
    sent: Sent,
}

#[derive(Debug, Clone)]
struct Item {
    kind: Kind,
    parts: Vec<Part>,
    added: bool,
    done: bool,
    /// The events of its texts come after its own.
    late: bool,
}

#[derive(Debug, Clone, Copy)]
enum Numbers {
    Right,
    FromOne,
    AllZero,
    Missing,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ids {
    Right,
    /// Another in each event, as of servers that encrypt theirs; calls keep the name by which they are answered.
    Changing,
    Missing,
}

/// A server's habits.
#[derive(Debug, Clone, Copy)]
struct Server {
    places: Numbers,
    numbers: Numbers,
    ids: Ids,
    /// Which items the last event has: all, or none.
    output: bool,
    /// A first item in the last event that was in no other.
    extra: bool,
}

impl Numbers {
    fn put(self, event: &mut Value, name: &str, number: usize) {
        match self {
            Self::Right => event[name] = number.into(),
            Self::FromOne => event[name] = (number + 1).into(),
            Self::AllZero => event[name] = 0.into(),
            Self::Missing => {}
        }
    }
}

/// A stream that is being made, and what has to come out of it.
struct Stream {
    body: String,
    server: Server,
    events: usize,
    /// Lead and text, in order; neighbours with one lead are one.
    told: Vec<(String, String)>,
    /// What of each part has been told: its words, what it cites, how likely it was.
    parts: HashSet<(usize, usize, &'static str)>,
    calls: Vec<usize>,
    citations: usize,
    likely: usize,
}

impl Stream {
    fn push(&mut self, kind: &str, mut event: Value) {
        event["type"] = format!("response.{kind}").into();
        self.body += &format!("data: {event}\n\n");
        self.events += 1;
    }

    fn hear(&mut self, lead: &str, text: &str) {
        match self.told.last_mut() {
            Some((last, whole)) if last == lead => whole.push_str(text),
            _ => self.told.push((lead.to_owned(), text.to_owned())),
        }
    }

    fn hear_call(&mut self, place: usize) {
        if !self.calls.contains(&place) {
            self.told.push((format!("call: {} call{place} f", self.calls.len()), String::new()));
            self.calls.push(place);
        }
    }

    fn hear_words(&mut self, place: usize, item: &Item, number: usize) {
        let part = &item.parts[number];
        let lead = match item.kind {
            Kind::Message if part.refusal => "refusal: ".to_owned(),
            Kind::Message => "text: ".to_owned(),
            Kind::Thoughts | Kind::Summary => "reasoning: ".to_owned(),
            // Whose arguments they are, nobody could say before it is announced.
            Kind::Call => match self.calls.iter().position(|call| *call == place) {
                Some(call) => format!("arguments {call}: "),
                None => return,
            },
        };
        if part.length > 0 && self.parts.insert((place, number, "words")) {
            self.hear(&lead, &text(place, number, part));
        }
    }

    fn hear_likely(&mut self, place: usize, item: &Item, number: usize) {
        let has = item.kind == Kind::Message && !item.parts[number].refusal && item.parts[number].likely;
        self.likely += usize::from(has && self.parts.insert((place, number, "likely")));
    }

    fn hear_cited(&mut self, place: usize, item: &Item, number: usize) {
        let has = item.kind == Kind::Message && !item.parts[number].refusal && item.parts[number].cited;
        self.citations += usize::from(has && self.parts.insert((place, number, "cited")));
    }

    fn hear_item(&mut self, place: usize, item: &Item) {
        if item.kind == Kind::Call {
            let is_new = !self.calls.contains(&place);
            self.hear_call(place);
            if is_new && item.parts[0].length == 0 {
                self.hear(&format!("arguments {}: ", self.calls.len() - 1), "{}");
            }
        }
        for number in 0..item.parts.len() {
            self.hear_words(place, item, number);
            self.hear_likely(place, item, number);
            self.hear_cited(place, item, number);
        }
    }

    fn whole(&self, place: usize, item: &Item) -> Value {
        let parts = || -> Value {
            (0..).zip(&item.parts).map(|(number, part)| part_of(place, number, item, part)).collect()
        };
        let mut whole = match item.kind {
            Kind::Message => json!({"type": "message", "content": parts()}),
            Kind::Thoughts => json!({"type": "reasoning", "summary": [], "content": parts()}),
            Kind::Summary => json!({"type": "reasoning", "summary": parts()}),
            Kind::Call => {
                json!({"type": "function_call", "name": "f", "call_id": format!("call{place}"), "arguments": text(place, 0, &item.parts[0])})
            }
        };
        match self.server.ids {
            Ids::Right => whole["id"] = format!("item{place}").into(),
            Ids::Changing => whole["id"] = format!("item{}", self.events + 1000).into(),
            Ids::Missing => {}
        }
        whole
    }

    /// Tells of an item all that the server tells of it before the end.
    fn tell(&mut self, place: usize, item: &Item) {
        let server = self.server;
        let at = |number: Option<usize>| {
            let mut event = json!({});
            server.places.put(&mut event, "output_index", place);
            if let Some(number) = number {
                let name = if item.kind == Kind::Summary { "summary_index" } else { "content_index" };
                server.numbers.put(&mut event, name, number);
            }
            event
        };
        if item.added {
            let mut event = at(None);
            let nothing = Part { length: 0, cited: false, likely: false, ..item.parts[0].clone() };
            event["item"] = self.whole(place, &Item { parts: vec![nothing], ..item.clone() });
            self.push("output_item.added", event);
            if item.kind == Kind::Call {
                self.hear_call(place);
            }
        }
        if item.done && item.late {
            self.done(place, item, at(None));
        }
        for (number, part) in item.parts.iter().enumerate() {
            let text = text(place, number, part);
            let (prefix, member) = match item.kind {
                Kind::Message if part.refusal => ("refusal", "refusal"),
                Kind::Message => ("output_text", "text"),
                Kind::Thoughts => ("reasoning_text", "text"),
                Kind::Summary => ("reasoning_summary_text", "text"),
                Kind::Call => ("function_call_arguments", "arguments"),
            };
            if part.sent.pieces && !item.late {
                let middle = text.chars().next().map_or(0, char::len_utf8);
                for piece in [&text[..middle], &text[middle..]] {
                    let mut event = at(Some(number));
                    event["delta"] = piece.into();
                    self.push(&format!("{prefix}.delta"), event);
                }
                self.hear_words(place, item, number);
            }
            if part.sent.text {
                let mut event = at(Some(number));
                event[member] = text.as_str().into();
                if item.kind == Kind::Message && !part.refusal && part.likely {
                    event["logprobs"] = json!([{"token": text}]);
                }
                self.push(&format!("{prefix}.done"), event);
                self.hear_words(place, item, number);
                self.hear_likely(place, item, number);
            }
            if part.sent.part && item.kind != Kind::Call {
                let mut event = at(Some(number));
                event["part"] = part_of(place, number, item, part);
                let is_summary = item.kind == Kind::Summary;
                self.push(
                    if is_summary { "reasoning_summary_part.done" } else { "content_part.done" },
                    event,
                );
                self.hear_words(place, item, number);
                self.hear_likely(place, item, number);
                self.hear_cited(place, item, number);
            }
        }
        if item.done && !item.late {
            self.done(place, item, at(None));
        }
    }

    fn done(&mut self, place: usize, item: &Item, mut event: Value) {
        event["item"] = self.whole(place, item);
        self.push("output_item.done", event);
        self.hear_item(place, item);
    }

    fn end(&mut self, items: &[Item], extra: Option<&Item>) {
        let mut output = Vec::new();
        if self.server.output {
            let extra = extra.map(|extra| (items.len(), extra));
            for (place, item) in extra.into_iter().chain((0..).zip(items)) {
                output.push(self.whole(place, item));
                self.hear_item(place, item);
            }
        }
        self.push("completed", json!({"response": {"id": "r", "status": "completed", "output": output}}));
    }
}

/// The words of a part: a letter of its own, and others of two bytes.
fn text(place: usize, number: usize, part: &Part) -> String {
    let letter = char::from(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[place * 4 + number]);
    let rest = part.length.checked_sub(1).map(|rest| "\u{e9}".repeat(rest));
    rest.map_or_else(String::new, |rest| format!("{letter}{rest}"))
}

fn part_of(place: usize, number: usize, item: &Item, part: &Part) -> Value {
    let text = text(place, number, part);
    let listed = |is_there: bool, name: &str| if is_there { json!([{name: text}]) } else { json!([]) };
    match item.kind {
        Kind::Message if part.refusal => json!({"type": "refusal", "refusal": text}),
        Kind::Message => {
            json!({"type": "output_text", "text": text, "annotations": listed(part.cited, "url"), "logprobs": listed(part.likely, "token")})
        }
        Kind::Thoughts => json!({"type": "reasoning_text", "text": text}),
        Kind::Summary => json!({"type": "summary_text", "text": text}),
        Kind::Call => Value::Null,
    }
}

fn sent() -> impl Strategy<Value = Sent> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(pieces, text, part)| Sent { pieces, text, part })
}

fn part() -> impl Strategy<Value = Part> {
    (0..6_usize, any::<bool>(), any::<bool>(), any::<bool>(), sent()).prop_map(
        |(length, refusal, cited, likely, sent)| {
            let has_text = length > 0;
            Part { length, refusal, cited: cited && has_text, likely: likely && has_text, sent }
        },
    )
}

fn item() -> impl Strategy<Value = Item> {
    let kind = prop::sample::select(vec![Kind::Message, Kind::Thoughts, Kind::Summary, Kind::Call]);
    let parts = prop::collection::vec(part(), 1..=4);
    (kind, parts, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(kind, mut parts, added, done, late)| {
            if kind == Kind::Call {
                parts.truncate(1);
            }
            Item { kind, parts, added, done, late }
        },
    )
}

fn server() -> impl Strategy<Value = Server> {
    let numbers =
        || prop::sample::select(vec![Numbers::Right, Numbers::FromOne, Numbers::AllZero, Numbers::Missing]);
    let ids = prop::sample::select(vec![Ids::Right, Ids::Changing, Ids::Missing]);
    (numbers(), numbers(), ids, any::<bool>(), any::<bool>())
        .prop_map(|(places, numbers, ids, output, extra)| Server { places, numbers, ids, output, extra })
}

/// What even a reader who sees all of the stream could not tell apart is left out.
fn settle(server: Server, items: &mut [Item]) {
    let decides = |numbers: Numbers| matches!(numbers, Numbers::Right | Numbers::FromOne);
    for item in items {
        if !decides(server.numbers) {
            // Of one part pieces and of the next only its end, both under one number: the next looks like the first one, changed.
            let sent = item.parts[0].sent;
            item.parts.iter_mut().for_each(|part| part.sent = sent);
        }
        if !decides(server.places) {
            // Two items that are open under one number look like one.
            (item.added, item.done) = (true, true);
        }
        if item.kind == Kind::Call && !item.added {
            // Pieces of arguments belong to the latest call.
            item.parts[0].sent.pieces = false;
            item.parts[0].sent.text &= decides(server.places);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_is_told_once(
        server in server(),
        mut items in prop::collection::vec(item(), 1..=5),
        extra in item(),
        cut in 1..200_usize,
    ) {
        settle(server, &mut items);
        let mut stream = Stream {
            body: String::new(),
            server,
            events: 0,
            told: Vec::new(),
            parts: HashSet::new(),
            calls: Vec::new(),
            citations: 0,
            likely: 0,
        };
        stream.push("created", json!({"response": {"id": "r", "model": "m"}}));
        for (place, item) in items.iter().enumerate() {
            stream.tell(place, item);
        }
        stream.end(&items, server.extra.then_some(&extra));

        let decoded = decode(&OPENAI_RESPONSES, SSE, stream.body.as_bytes().chunks(cut), None);
        let mut told: Vec<(String, String)> = Vec::new();
        for line in &decoded.lines {
            let line = line.replace("\n\n", "");
            let lead = line.split_inclusive(": ").next().unwrap_or_default().to_owned();
            let (lead, text) = match lead.as_str() {
                "text: " | "refusal: " | "reasoning: " => (lead.clone(), line[lead.len()..].to_owned()),
                "call: " => (line.clone(), String::new()),
                lead if lead.starts_with("arguments ") => (lead.to_owned(), line[lead.len()..].to_owned()),
                _ => continue,
            };
            match told.last_mut() {
                Some((last, whole)) if *last == lead => whole.push_str(&text),
                _ => told.push((lead, text)),
            }
        }
        prop_assert_eq!(&told, &stream.told, "{}", stream.body);
        let count = |lead: &str| decoded.lines.iter().filter(|line| line.starts_with(lead)).count();
        prop_assert_eq!(count("detail: citations"), stream.citations, "citations of {}", stream.body);
        prop_assert_eq!(count("detail: logprobs"), stream.likely, "probabilities of {}", stream.body);
        prop_assert!(decoded.ending.is_finished());
    }
}
