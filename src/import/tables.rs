//! Debezium's lists of tables, which are regular expressions, as patterns of `[[outbox]]`.

/// A piece of a name in a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(char),
    Any,
    /// A dot that stands for itself, or for any character: in a table's name it is the one between database and table.
    Dot,
}

/// Patterns `database.table` for an expression that is matched against the whole of `database.table`; `None` where no
/// pattern says the same. What is not a wildcard stands for itself.
pub fn patterns(expression: &str) -> Option<Vec<String>> {
    alternatives(expression.trim())?.iter().map(|text| pattern(text)).collect()
}

/// Whether an expression of this simple kind matches all of a text; `None` where it is of another kind.
pub fn matches(expression: &str, text: &str) -> Option<bool> {
    let alternatives = alternatives(expression.trim())?;
    let pieces: Option<Vec<_>> = alternatives.iter().map(|text| pieces(text)).collect();
    let text: Vec<char> = text.chars().collect();
    Some(pieces?.iter().any(|pieces| fits(pieces, &text)))
}

fn fits(pieces: &[Piece], text: &[char]) -> bool {
    match (pieces.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((Piece::Any, rest)), _) => {
            (0..=text.len()).any(|skipped| fits(rest, &text[skipped..]))
        }
        (Some((Piece::Dot, rest)), Some((_, text))) => fits(rest, text),
        (Some((Piece::Text(c), rest)), Some((found, text))) => c == found && fits(rest, text),
        _ => false,
    }
}

/// Spells groups of alternatives out: `a.(b|c)` is `a.b` and `a.c`.
fn alternatives(expression: &str) -> Option<Vec<String>> {
    let expression = expression.strip_prefix('^').unwrap_or(expression);
    let expression = expression.strip_suffix('$').unwrap_or(expression);
    let Some((before, rest)) = expression.split_once('(') else {
        return Some(expression.split('|').map(str::to_owned).collect());
    };
    let (group, after) = rest.split_once(')')?;
    let group = group.strip_prefix("?:").unwrap_or(group);
    let is_nested =
        group.contains(['(', '?']) || after.contains(['(', '|']) || before.contains('|');
    if is_nested || before.ends_with('\\') || after.starts_with(['*', '+', '?', '{']) {
        return None;
    }
    Some(group.split('|').map(|it| format!("{before}{it}{after}")).collect())
}

fn pieces(text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text.trim();
    while let Some(c) = rest.chars().next() {
        let wildcard =
            [".*", "[^.]*", "\\w*", "[a-zA-Z0-9_]*"].into_iter().find(|it| rest.starts_with(it));
        if let Some(wildcard) = wildcard {
            pieces.push(Piece::Any);
            rest = &rest[wildcard.len()..];
        } else if let Some(after) = rest.strip_prefix("[.]") {
            pieces.push(Piece::Dot);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('\\') {
            let escaped = after.chars().next().filter(|c| !c.is_ascii_alphanumeric())?;
            pieces.push(if escaped == '.' { Piece::Dot } else { Piece::Text(escaped) });
            rest = &after[escaped.len_utf8()..];
        } else if c == '.' {
            pieces.push(Piece::Dot);
            rest = &rest[1..];
        } else if "[](){}+*?|^$".contains(c) {
            return None;
        } else {
            pieces.push(Piece::Text(c));
            rest = &rest[c.len_utf8()..];
        }
        if rest.starts_with(['*', '+', '?', '{']) {
            return None;
        }
    }
    Some(pieces)
}

fn pattern(text: &str) -> Option<String> {
    let pieces = pieces(text)?;
    let [database, table] = &pieces.split(|piece| *piece == Piece::Dot).collect::<Vec<_>>()[..]
    else {
        return None;
    };
    Some(format!("{}.{}", name(database)?, name(table)?))
}

fn name(pieces: &[Piece]) -> Option<String> {
    let mut out = String::new();
    let mut literal = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(c) => literal.push(*c),
            Piece::Any | Piece::Dot => {
                out.push_str(&spelled(&std::mem::take(&mut literal)));
                out.push('*');
            }
        }
    }
    out.push_str(&spelled(&literal));
    (!out.is_empty()).then_some(out)
}

/// In backticks where a pattern would read it otherwise.
fn spelled(literal: &str) -> String {
    let is_plain = literal.chars().all(|c| c.is_alphanumeric() || "_-$".contains(c));
    if is_plain { literal.to_owned() } else { format!("`{}`", literal.replace('`', "``")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_becomes_a_pattern_where_one_says_the_same() {
        for (expression, expected) in [
            ("shop.outbox", Some(vec!["shop.outbox"])),
            (r"shop\.outbox", Some(vec!["shop.outbox"])),
            (r"^shop[.]outbox$", Some(vec!["shop.outbox"])),
            (r"shop\.out.*", Some(vec!["shop.out*"])),
            (r".*\.outbox", Some(vec!["*.outbox"])),
            (r"shop\.(outbox|events)", Some(vec!["shop.outbox", "shop.events"])),
            (r"shop.(?:a|b)_outbox", Some(vec!["shop.a_outbox", "shop.b_outbox"])),
            (r"shop.a b", Some(vec!["shop.`a b`"])),
            (r"shop\.[a-z]+", None),
            (r"shop\.outbox_\d+", None),
            (r"outbox", None),
            (r"a.b.c", None),
            (r"(?!shop).*\.outbox", None),
            (r"shop.outbox?", None),
        ] {
            let expected = expected.map(|it| it.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(patterns(expression), expected, "{expression}");
        }
        assert_eq!(matches(r".*outbox.*", "p.shop.outbox"), Some(true));
        assert_eq!(matches(r"p\.shop\.outbox", "p.shop.customers"), Some(false));
        assert_eq!(matches(r"p\.shop\.\w+", "p.shop.customers"), None);
    }
}
