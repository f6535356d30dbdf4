//! What a sentence from a device says it is.

/// The first word of a sentence.
///
/// `!done` and `!fatal` end an exchange and nothing else does: `!trap` is followed by `!done`, there may be several
/// traps for one command, and `!empty` (7.18 and later) comes before `!done` or, in an `interval=` stream, with no
/// `!done` after it. Words that begin with `!` and are not known are not errors either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `!done`: the command has ended. May carry attributes, chiefly `=ret=`.
    Done,
    /// `!empty`: a query matched nothing.
    Empty,
    /// `!fatal`: the connection ends. The reason is a bare second word; some fake devices send `=message=`.
    Fatal,
    /// `!re`: a row, possibly without attributes.
    Re,
    /// `!trap`: an error. `category` and `message` are both optional.
    Trap,
    /// Any other word that begins with `!`.
    Unknown,
    /// A sentence that is no reply: a request, or nothing at all.
    NotAReply,
}

impl Kind {
    /// The kind that a sentence with this first word has.
    #[inline]
    pub fn of(first_word: &[u8]) -> Self {
        match first_word {
            b"!re" => Self::Re,
            b"!done" => Self::Done,
            b"!trap" => Self::Trap,
            b"!empty" => Self::Empty,
            b"!fatal" => Self::Fatal,
            [b'!', ..] => Self::Unknown,
            _ => Self::NotAReply,
        }
    }
}

/// The `category` of a trap (vendor's page "API", section "!trap").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TrapCategory {
    /// 0: missing item or command.
    MissingItemOrCommand = 0,
    /// 1: argument value failure.
    ArgumentValue = 1,
    /// 2: execution of the command was interrupted.
    Interrupted = 2,
    /// 3: scripting failure.
    Scripting = 3,
    /// 4: general failure.
    General = 4,
    /// 5: API failure.
    Api = 5,
    /// 6: TTY failure.
    Tty = 6,
    /// 7: value generated with `:return`.
    Return = 7,
}

impl TrapCategory {
    /// Reads the value of `=category=`.
    pub fn parse(value: &[u8]) -> Option<Self> {
        Some(match value {
            b"0" => Self::MissingItemOrCommand,
            b"1" => Self::ArgumentValue,
            b"2" => Self::Interrupted,
            b"3" => Self::Scripting,
            b"4" => Self::General,
            b"5" => Self::Api,
            b"6" => Self::Tty,
            b"7" => Self::Return,
            _ => return None,
        })
    }
}
