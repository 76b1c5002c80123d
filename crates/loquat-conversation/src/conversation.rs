//! [`Conversation`]: a tree of messages and a place in it.

use loquat_core::{ChatRequest, Error, ErrorKind, Message, Result};

/// A message's place in its [`Conversation`]; good for as long as that lives, and in its saved form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

/// A tree of messages and a place in it, the head.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// Each with its parent, which stands before it: so there is no cycle.
    pub(crate) nodes: Vec<Node>,
    pub(crate) head: Option<NodeId>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) parent: Option<NodeId>,
    pub(crate) message: Message,
}

impl Conversation {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says something below the head, and moves the head there.
    pub fn push(&mut self, message: Message) -> NodeId {
        self.insert(self.head, message)
    }

    /// Says several things, one below the other: the messages of a run of tools, for instance.
    pub fn extend(&mut self, messages: impl IntoIterator<Item = Message>) {
        for message in messages {
            self.push(message);
        }
    }

    /// Says something in place of that message, in a branch beside it, and moves the head there. What followed the old
    /// message stays below it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] for a place of another conversation.
    pub fn edit(&mut self, node: NodeId, message: Message) -> Result<NodeId> {
        let parent = self.node(node)?.parent;
        Ok(self.insert(parent, message))
    }

    /// Moves the head: to go on from there, or with `None` to begin anew.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] for a place of another conversation.
    pub fn go_to(&mut self, node: impl Into<Option<NodeId>>) -> Result<()> {
        let node = node.into();
        if let Some(node) = node {
            self.node(node)?;
        }
        self.head = node;
        Ok(())
    }

    /// Where the conversation stands; `None` before anything is said.
    pub fn head(&self) -> Option<NodeId> {
        self.head
    }

    /// The path from the root to the head: what a model is asked with.
    pub fn path(&self) -> Vec<(NodeId, &Message)> {
        let mut path = Vec::new();
        let mut next = self.head;
        while let Some((node, found)) = next.and_then(|id| Some((id, self.nodes.get(id.0 as usize)?))) {
            path.push((node, &found.message));
            next = found.parent;
        }
        path.reverse();
        path
    }

    /// The messages of [`path`](Self::path), copied.
    pub fn messages(&self) -> Vec<Message> {
        self.path().into_iter().map(|(_, message)| message.clone()).collect()
    }

    /// A request with these messages.
    pub fn request(&self, model: impl Into<String>) -> ChatRequest {
        let mut request = ChatRequest::new(model);
        request.messages = self.messages();
        request
    }

    /// The message at that place.
    pub fn message(&self, node: NodeId) -> Option<&Message> {
        self.nodes.get(node.0 as usize).map(|node| &node.message)
    }

    /// The other versions of that message, in the order they were said; itself among them.
    pub fn versions(&self, node: NodeId) -> Vec<NodeId> {
        let Some(parent) = self.nodes.get(node.0 as usize).map(|node| node.parent) else { return Vec::new() };
        self.ids().filter(|(_, node)| node.parent == parent).map(|(id, _)| id).collect()
    }

    /// The last message of each branch, in the order they were said.
    pub fn branches(&self) -> Vec<NodeId> {
        let mut has_child = vec![false; self.nodes.len()];
        for parent in self.nodes.iter().filter_map(|node| node.parent) {
            if let Some(flag) = has_child.get_mut(parent.0 as usize) {
                *flag = true;
            }
        }
        self.ids().zip(has_child).filter(|(_, has_child)| !has_child).map(|((id, _), _)| id).collect()
    }

    /// The conversation as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a kind of part that this version of the saved form has no word for.
    pub fn save(&self) -> Result<String> {
        crate::saved::write(self)
    }

    /// A conversation that was saved.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a version that this build does not know, [`ErrorKind::InvalidRequest`] for what is no
    /// saved conversation.
    pub fn load(text: &str) -> Result<Self> {
        crate::saved::read(text)
    }

    fn insert(&mut self, parent: Option<NodeId>, message: Message) -> NodeId {
        // Four billion messages are beyond any memory this runs in.
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node { parent, message });
        self.head = Some(id);
        id
    }

    fn node(&self, id: NodeId) -> Result<&Node> {
        let unknown = || Error::new(ErrorKind::InvalidRequest, "no such message in this conversation");
        self.nodes.get(id.0 as usize).ok_or_else(unknown)
    }

    fn ids(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        (0..).map(NodeId).zip(&self.nodes)
    }
}

impl FromIterator<Message> for Conversation {
    fn from_iter<I: IntoIterator<Item = Message>>(messages: I) -> Self {
        let mut conversation = Self::new();
        conversation.extend(messages);
        conversation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(talk: &Conversation) -> Vec<String> {
        talk.messages().iter().map(Message::text).collect()
    }

    #[test]
    fn edits_are_branches_and_nothing_is_lost() {
        let mut talk = Conversation::new();
        let first = talk.push(Message::user("one"));
        let answer = talk.push(Message::assistant("1"));
        let edited = talk.edit(first, Message::user("two")).expect("it is there");
        talk.push(Message::assistant("2"));
        assert_eq!(texts(&talk), ["two", "2"]);
        assert_eq!(talk.versions(first), [first, edited]);
        assert_eq!(talk.branches().len(), 2);

        talk.go_to(answer).expect("it is there");
        assert_eq!(texts(&talk), ["one", "1"]);
        talk.push(Message::user("more"));
        assert_eq!(texts(&talk), ["one", "1", "more"]);
        assert_eq!(talk.branches().len(), 2, "the branch went on");

        talk.go_to(None).expect("the beginning is always there");
        assert!(talk.messages().is_empty());
        assert_eq!(talk.request("m").model, "m");
        for id in [NodeId(99), NodeId(u32::MAX)] {
            assert!(talk.go_to(id).is_err() && talk.edit(id, Message::user("x")).is_err());
            assert!(talk.message(id).is_none() && talk.versions(id).is_empty());
        }
    }
}
