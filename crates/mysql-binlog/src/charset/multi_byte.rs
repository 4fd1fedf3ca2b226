//! Character sets of the Far East. encoding_rs decodes them as the web does; where MySQL maps a character
//! otherwise or not at all, a list of exceptions has the last word, so that the text is the one that
//! `CONVERT(… USING utf8mb4)` of MySQL 8.0.31 answers (compared over all sequences of one, two and three
//! bytes, and for GB18030 over the four-byte ones of the basic plane).

use std::borrow::Cow;

use encoding_rs::Encoding;

use super::Invalid;

/// A character set: how to cut bytes into characters, how to decode them, and what is otherwise.
#[derive(Clone, Copy)]
pub(super) struct MultiByte {
    encoding: &'static Encoding,
    /// Bytes of the character that begins with these; 0 when none can.
    length: fn(&[u8]) -> usize,
    exceptions: &'static [Exception],
}

/// Sequences `first..=last` (their bytes as a big-endian number) stand for consecutive code points from
/// `code_point` on, or for nothing when that is 0. The list is in order.
type Exception = (u32, u32, u32);

/// Decodes bytes as MySQL does. ASCII is borrowed.
pub(super) fn decode(bytes: &[u8], charset: MultiByte) -> Result<Cow<'_, str>, Invalid> {
    let ascii = super::ascii_prefix(bytes);
    if ascii.len() == bytes.len() {
        return Ok(Cow::Borrowed(ascii));
    }
    let mut text = String::with_capacity(bytes.len() * 2);
    // Runs without an exception are decoded at once.
    let (mut run, mut at) = (0, 0);
    while at < bytes.len() {
        let length = (charset.length)(&bytes[at..]);
        let Some(sequence) = bytes.get(at..at + length).filter(|sequence| !sequence.is_empty())
        else {
            return Err(Invalid { at });
        };
        if let Some(exception) = exception(charset.exceptions, sequence) {
            push_run(&mut text, bytes, run..at, charset)?;
            text.push(exception.ok_or(Invalid { at })?);
            run = at + length;
        }
        at += length;
    }
    push_run(&mut text, bytes, run..at, charset)?;
    Ok(Cow::Owned(text))
}

fn push_run(
    text: &mut String,
    bytes: &[u8],
    run: std::ops::Range<usize>,
    charset: MultiByte,
) -> Result<(), Invalid> {
    let at = run.start;
    let decoded = charset
        .encoding
        .decode_without_bom_handling_and_without_replacement(&bytes[run])
        .ok_or(Invalid { at })?;
    text.push_str(&decoded);
    Ok(())
}

/// The sequences that may stand for a character beyond ASCII, the likely ones first. The caller decodes them to find one
/// that does.
pub(super) fn encode(character: char, charset: MultiByte) -> impl Iterator<Item = Vec<u8>> {
    let text = character.encode_utf8(&mut [0; 4]).to_owned();
    let (encoded, _, is_unknown) = charset.encoding.encode(&text);
    let usual = (!is_unknown).then(|| encoded.into_owned());
    let code_point = u32::from(character);
    let is_of = move |(first, last, from): &&Exception| {
        *from > 0 && (*from..=from + (last - first)).contains(&code_point)
    };
    let excepted = charset.exceptions.iter().filter(is_of).map(move |(first, _, from)| {
        let number = (first + (code_point - from)).to_be_bytes();
        number.into_iter().skip_while(|byte| *byte == 0).collect()
    });
    // The web decodes some sequences that it never writes: second ones of a character, and JIS X 0212 in EUC-JP.
    let all = (0x8140..=0xfefe_u16).flat_map(|number| {
        let [first, second] = number.to_be_bytes();
        [vec![first, second], vec![0x8f, first, second]]
    });
    usual.into_iter().chain(excepted).chain(all)
}

/// `None`: nothing special. `Some(None)`: MySQL maps the sequence to nothing.
fn exception(exceptions: &[Exception], sequence: &[u8]) -> Option<Option<char>> {
    let number = sequence.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    let (first, last, code_point) =
        *exceptions.get(exceptions.partition_point(|(_, last, _)| *last < number))?;
    if !(first..=last).contains(&number) {
        return None;
    }
    Some(match code_point {
        0 => None,
        _ => char::from_u32(code_point + (number - first)),
    })
}

/// One byte below 0x80, else two from these lead bytes on; what the second may be is encoding_rs's to say.
fn double(bytes: &[u8], lead: std::ops::RangeInclusive<u8>, trail_min: u8) -> usize {
    match bytes {
        [0..=0x7f, ..] => 1,
        [first, second, ..] if lead.contains(first) && *second >= trail_min => 2,
        _ => 0,
    }
}

fn big5_length(bytes: &[u8]) -> usize {
    double(bytes, 0xa1..=0xf9, 0x40)
}

fn gbk_length(bytes: &[u8]) -> usize {
    double(bytes, 0x81..=0xfe, 0x40)
}

fn gb2312_length(bytes: &[u8]) -> usize {
    double(bytes, 0xa1..=0xf7, 0xa1)
}

fn euckr_length(bytes: &[u8]) -> usize {
    double(bytes, 0x81..=0xfe, 0x41)
}

fn gb18030_length(bytes: &[u8]) -> usize {
    match bytes {
        [0x81..=0xfe, 0x30..=0x39, ..] => 4,
        _ => gbk_length(bytes),
    }
}

fn sjis_length(bytes: &[u8]) -> usize {
    match bytes {
        [0xa1..=0xdf, ..] => 1,
        _ => double(bytes, 0x81..=0xfc, 0x40),
    }
}

fn eucjp_length(bytes: &[u8]) -> usize {
    match bytes {
        [0x8e, 0xa1..=0xdf, ..] => 2,
        [0x8f, 0xa1..=0xfe, ..] => 3,
        _ => double(bytes, 0xa1..=0xfe, 0xa1),
    }
}

pub(super) static BIG5: MultiByte = MultiByte {
    encoding: encoding_rs::BIG5,
    length: big5_length,
    exceptions: &[
        (0xa145, 0xa145, 0x2022),
        (0xa14e, 0xa14e, 0xff64),
        (0xa15a, 0xa15a, 0),
        (0xa1c2, 0xa1c2, 0x203e),
        (0xa1c3, 0xa1c3, 0),
        (0xa1c5, 0xa1c5, 0),
        (0xa1e3, 0xa1e3, 0x223c),
        (0xa1f2, 0xa1f2, 0x2641),
        (0xa1f3, 0xa1f3, 0x2609),
        (0xa1fe, 0xa240, 0),
        (0xa241, 0xa241, 0xff0f),
        (0xa242, 0xa242, 0xff3c),
        (0xa244, 0xa244, 0xa5),
        (0xa246, 0xa247, 0xa2),
        (0xa2cc, 0xa2cc, 0),
        (0xa2ce, 0xa2ce, 0),
        (0xa3c0, 0xa3e1, 0),
        (0xc6a1, 0xc6a1, 0x30fe),
        (0xc6a2, 0xc6a3, 0x309d),
        (0xc6a4, 0xc6a4, 0x3005),
        (0xc6a5, 0xc6f7, 0x3041),
        (0xc6f8, 0xc6fe, 0x30a1),
        (0xc740, 0xc77e, 0x30a8),
        (0xc7a1, 0xc7b0, 0x30e7),
        (0xc7b1, 0xc7b2, 0x414),
        (0xc7b3, 0xc7b3, 0x401),
        (0xc7b4, 0xc7ba, 0x416),
        (0xc7bb, 0xc7cd, 0x423),
        (0xc7ce, 0xc7ce, 0x451),
        (0xc7cf, 0xc7e8, 0x436),
        (0xc7e9, 0xc7f2, 0x2460),
        (0xc7f3, 0xc7fc, 0x2474),
        (0xc7fd, 0xc8a4, 0),
        (0xc8cd, 0xc8f1, 0),
        (0xc8f5, 0xc8fe, 0),
        (0xf9dd, 0xf9fe, 0),
    ],
};

pub(super) static GBK: MultiByte = MultiByte {
    encoding: encoding_rs::GBK,
    length: gbk_length,
    exceptions: &[
        (0xa140, 0xa1a0, 0),
        (0xa240, 0xa2a0, 0),
        (0xa2ab, 0xa2b0, 0),
        (0xa2e3, 0xa2e4, 0),
        (0xa2ef, 0xa2f0, 0),
        (0xa2fd, 0xa3a0, 0),
        (0xa440, 0xa4a0, 0),
        (0xa4f4, 0xa5a0, 0),
        (0xa5f7, 0xa6a0, 0),
        (0xa6b9, 0xa6c0, 0),
        (0xa6d9, 0xa6df, 0),
        (0xa6ec, 0xa6ed, 0),
        (0xa6f3, 0xa6f3, 0),
        (0xa6f6, 0xa7a0, 0),
        (0xa7c2, 0xa7d0, 0),
        (0xa7f2, 0xa7fe, 0),
        (0xa896, 0xa8a0, 0),
        (0xa8bc, 0xa8bc, 0),
        (0xa8bf, 0xa8bf, 0),
        (0xa8c1, 0xa8c4, 0),
        (0xa8ea, 0xa8fe, 0),
        (0xa958, 0xa958, 0),
        (0xa95b, 0xa95b, 0),
        (0xa95d, 0xa95f, 0),
        (0xa989, 0xa995, 0),
        (0xa997, 0xa9a3, 0),
        (0xa9f0, 0xa9fe, 0),
        (0xaaa1, 0xaafe, 0),
        (0xaba1, 0xabfe, 0),
        (0xaca1, 0xacfe, 0),
        (0xada1, 0xadfe, 0),
        (0xaea1, 0xaefe, 0),
        (0xafa1, 0xaffe, 0),
        (0xd7fa, 0xd7fe, 0),
        (0xf8a1, 0xf8fe, 0),
        (0xf9a1, 0xf9fe, 0),
        (0xfaa1, 0xfafe, 0),
        (0xfba1, 0xfbfe, 0),
        (0xfca1, 0xfcfe, 0),
        (0xfda1, 0xfdfe, 0),
        (0xfe50, 0xfefe, 0),
    ],
};

pub(super) static GB2312: MultiByte = MultiByte {
    encoding: encoding_rs::GBK,
    length: gb2312_length,
    exceptions: &[
        (0xa1a4, 0xa1a4, 0x30fb),
        (0xa1aa, 0xa1aa, 0x2015),
        (0xa2a1, 0xa2b0, 0),
        (0xa2e3, 0xa2e4, 0),
        (0xa2ef, 0xa2f0, 0),
        (0xa2fd, 0xa2fe, 0),
        (0xa4f4, 0xa4fe, 0),
        (0xa5f7, 0xa5fe, 0),
        (0xa6b9, 0xa6c0, 0),
        (0xa6d9, 0xa6fe, 0),
        (0xa7c2, 0xa7d0, 0),
        (0xa7f2, 0xa7fe, 0),
        (0xa8bb, 0xa8c4, 0),
        (0xa8ea, 0xa9a3, 0),
        (0xa9f0, 0xaffe, 0),
        (0xd7fa, 0xd7fe, 0),
    ],
};

pub(super) static GB18030: MultiByte = MultiByte {
    encoding: encoding_rs::GB18030,
    length: gb18030_length,
    exceptions: &[
        (0xa3a0, 0xa3a0, 0xe5e5),
        (0xa6d9, 0xa6df, 0xe78d),
        (0xa6ec, 0xa6ed, 0xe794),
        (0xa6f3, 0xa6f3, 0xe796),
        (0xfe59, 0xfe59, 0xe81e),
        (0xfe61, 0xfe61, 0xe826),
        (0xfe66, 0xfe67, 0xe82b),
        (0xfe6d, 0xfe6d, 0xe832),
        (0xfe7e, 0xfe7e, 0xe843),
        (0xfe90, 0xfe90, 0xe854),
        (0xfea0, 0xfea0, 0xe864),
    ],
};

pub(super) static EUCKR: MultiByte =
    MultiByte { encoding: encoding_rs::EUC_KR, length: euckr_length, exceptions: &[] };

pub(super) static SJIS: MultiByte = MultiByte {
    encoding: encoding_rs::SHIFT_JIS,
    length: sjis_length,
    exceptions: &[
        (0x815f, 0x815f, 0x5c),
        (0x8160, 0x8160, 0x301c),
        (0x8161, 0x8161, 0x2016),
        (0x817c, 0x817c, 0x2212),
        (0x8191, 0x8192, 0xa2),
        (0x81ca, 0x81ca, 0xac),
        (0x8740, 0x875d, 0),
        (0x875f, 0x8775, 0),
        (0x877e, 0x879c, 0),
        (0xed40, 0xeeec, 0),
        (0xeeef, 0xeefc, 0),
        (0xf040, 0xfc4b, 0),
    ],
};

pub(super) static CP932: MultiByte =
    MultiByte { encoding: encoding_rs::SHIFT_JIS, length: sjis_length, exceptions: &[] };

pub(super) static UJIS: MultiByte = MultiByte {
    encoding: encoding_rs::EUC_JP,
    length: eucjp_length,
    exceptions: &[
        (0xa1c0, 0xa1c0, 0x5c),
        (0xa1c1, 0xa1c1, 0x301c),
        (0xa1c2, 0xa1c2, 0x2016),
        (0xa1dd, 0xa1dd, 0x2212),
        (0xa1f1, 0xa1f2, 0xa2),
        (0xa2cc, 0xa2cc, 0xac),
        (0xada1, 0xadbe, 0),
        (0xadc0, 0xadd6, 0),
        (0xaddf, 0xadfc, 0),
        (0xf5a1, 0xf5fe, 0xe000),
        (0xf6a1, 0xf6fe, 0xe05e),
        (0xf7a1, 0xf7fe, 0xe0bc),
        (0xf8a1, 0xf8fe, 0xe11a),
        (0xf9a1, 0xf9fe, 0xe178),
        (0xfaa1, 0xfafe, 0xe1d6),
        (0xfba1, 0xfbfe, 0xe234),
        (0xfca1, 0xfcfe, 0xe292),
        (0xfda1, 0xfdfe, 0xe2f0),
        (0xfea1, 0xfefe, 0xe34e),
        (0x8fa2b7, 0x8fa2b7, 0x7e),
        (0x8ff5a1, 0x8ff5fe, 0xe3ac),
        (0x8ff6a1, 0x8ff6fe, 0xe40a),
        (0x8ff7a1, 0x8ff7fe, 0xe468),
        (0x8ff8a1, 0x8ff8fe, 0xe4c6),
        (0x8ff9a1, 0x8ff9fe, 0xe524),
        (0x8ffaa1, 0x8ffafe, 0xe582),
        (0x8ffba1, 0x8ffbfe, 0xe5e0),
        (0x8ffca1, 0x8ffcfe, 0xe63e),
        (0x8ffda1, 0x8ffdfe, 0xe69c),
        (0x8ffea1, 0x8ffefe, 0xe6fa),
    ],
};

pub(super) static EUCJPMS: MultiByte = MultiByte {
    encoding: encoding_rs::EUC_JP,
    length: eucjp_length,
    exceptions: &[
        (0xf5a1, 0xf5fe, 0xe000),
        (0xf6a1, 0xf6fe, 0xe05e),
        (0xf7a1, 0xf7fe, 0xe0bc),
        (0xf8a1, 0xf8fe, 0xe11a),
        (0xf9a1, 0xf9fe, 0xe178),
        (0xfaa1, 0xfafe, 0xe1d6),
        (0xfba1, 0xfbfe, 0xe234),
        (0xfca1, 0xfcfe, 0xe292),
        (0xfda1, 0xfdfe, 0xe2f0),
        (0xfea1, 0xfefe, 0xe34e),
        (0x8fa2c3, 0x8fa2c3, 0xffe4),
        (0x8ff3f3, 0x8ff3fc, 0x2170),
        (0x8ff3fd, 0x8ff3fe, 0x2160),
        (0x8ff4a1, 0x8ff4a8, 0x2162),
        (0x8ff4a9, 0x8ff4a9, 0xff07),
        (0x8ff4aa, 0x8ff4aa, 0xff02),
        (0x8ff4ab, 0x8ff4ab, 0x3231),
        (0x8ff4ac, 0x8ff4ac, 0x2116),
        (0x8ff4ad, 0x8ff4ad, 0x2121),
        (0x8ff4ae, 0x8ff4ae, 0x70bb),
        (0x8ff4af, 0x8ff4af, 0x4efc),
        (0x8ff4b0, 0x8ff4b0, 0x50f4),
        (0x8ff4b1, 0x8ff4b1, 0x51ec),
        (0x8ff4b2, 0x8ff4b2, 0x5307),
        (0x8ff4b3, 0x8ff4b3, 0x5324),
        (0x8ff4b4, 0x8ff4b4, 0xfa0e),
        (0x8ff4b5, 0x8ff4b5, 0x548a),
        (0x8ff4b6, 0x8ff4b6, 0x5759),
        (0x8ff4b7, 0x8ff4b8, 0xfa0f),
        (0x8ff4b9, 0x8ff4b9, 0x589e),
        (0x8ff4ba, 0x8ff4ba, 0x5bec),
        (0x8ff4bb, 0x8ff4bb, 0x5cf5),
        (0x8ff4bc, 0x8ff4bc, 0x5d53),
        (0x8ff4bd, 0x8ff4bd, 0xfa11),
        (0x8ff4be, 0x8ff4be, 0x5fb7),
        (0x8ff4bf, 0x8ff4bf, 0x6085),
        (0x8ff4c0, 0x8ff4c0, 0x6120),
        (0x8ff4c1, 0x8ff4c1, 0x654e),
        (0x8ff4c2, 0x8ff4c2, 0x663b),
        (0x8ff4c3, 0x8ff4c3, 0x6665),
        (0x8ff4c4, 0x8ff4c4, 0xfa12),
        (0x8ff4c5, 0x8ff4c5, 0xf929),
        (0x8ff4c6, 0x8ff4c6, 0x6801),
        (0x8ff4c7, 0x8ff4c8, 0xfa13),
        (0x8ff4c9, 0x8ff4c9, 0x6a6b),
        (0x8ff4ca, 0x8ff4ca, 0x6ae2),
        (0x8ff4cb, 0x8ff4cb, 0x6df8),
        (0x8ff4cc, 0x8ff4cc, 0x6df2),
        (0x8ff4cd, 0x8ff4cd, 0x7028),
        (0x8ff4ce, 0x8ff4cf, 0xfa15),
        (0x8ff4d0, 0x8ff4d0, 0x7501),
        (0x8ff4d1, 0x8ff4d1, 0x7682),
        (0x8ff4d2, 0x8ff4d2, 0x769e),
        (0x8ff4d3, 0x8ff4d3, 0xfa17),
        (0x8ff4d4, 0x8ff4d4, 0x7930),
        (0x8ff4d5, 0x8ff4d8, 0xfa18),
        (0x8ff4d9, 0x8ff4d9, 0x7ae7),
        (0x8ff4da, 0x8ff4db, 0xfa1c),
        (0x8ff4dc, 0x8ff4dc, 0x7da0),
        (0x8ff4dd, 0x8ff4dd, 0x7dd6),
        (0x8ff4de, 0x8ff4de, 0xfa1e),
        (0x8ff4df, 0x8ff4df, 0x8362),
        (0x8ff4e0, 0x8ff4e0, 0xfa1f),
        (0x8ff4e1, 0x8ff4e1, 0x85b0),
        (0x8ff4e2, 0x8ff4e3, 0xfa20),
        (0x8ff4e4, 0x8ff4e4, 0x8807),
        (0x8ff4e5, 0x8ff4e5, 0xfa22),
        (0x8ff4e6, 0x8ff4e6, 0x8b7f),
        (0x8ff4e7, 0x8ff4e7, 0x8cf4),
        (0x8ff4e8, 0x8ff4e8, 0x8d76),
        (0x8ff4e9, 0x8ff4eb, 0xfa23),
        (0x8ff4ec, 0x8ff4ec, 0x90de),
        (0x8ff4ed, 0x8ff4ed, 0xfa26),
        (0x8ff4ee, 0x8ff4ee, 0x9115),
        (0x8ff4ef, 0x8ff4f0, 0xfa27),
        (0x8ff4f1, 0x8ff4f1, 0x9592),
        (0x8ff4f2, 0x8ff4f2, 0xf9dc),
        (0x8ff4f3, 0x8ff4f3, 0xfa29),
        (0x8ff4f4, 0x8ff4f4, 0x973b),
        (0x8ff4f5, 0x8ff4f5, 0x974d),
        (0x8ff4f6, 0x8ff4f6, 0x9751),
        (0x8ff4f7, 0x8ff4f9, 0xfa2a),
        (0x8ff4fa, 0x8ff4fa, 0x999e),
        (0x8ff4fb, 0x8ff4fb, 0x9ad9),
        (0x8ff4fc, 0x8ff4fc, 0x9b72),
        (0x8ff4fd, 0x8ff4fd, 0xfa2d),
        (0x8ff4fe, 0x8ff4fe, 0x9ed1),
        (0x8ff5a1, 0x8ff5fe, 0xe3ac),
        (0x8ff6a1, 0x8ff6fe, 0xe40a),
        (0x8ff7a1, 0x8ff7fe, 0xe468),
        (0x8ff8a1, 0x8ff8fe, 0xe4c6),
        (0x8ff9a1, 0x8ff9fe, 0xe524),
        (0x8ffaa1, 0x8ffafe, 0xe582),
        (0x8ffba1, 0x8ffbfe, 0xe5e0),
        (0x8ffca1, 0x8ffcfe, 0xe63e),
        (0x8ffda1, 0x8ffdfe, 0xe69c),
        (0x8ffea1, 0x8ffefe, 0xe6fa),
    ],
};
