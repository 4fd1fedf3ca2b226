//! The columns and values: each type with its edges, and random ones.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use super::random;
use harness::sql::Sql;

/// A table beside its `id`, and what is written into it.
pub struct Case {
    pub columns: String,
    /// Names of the columns that are written.
    pub written: String,
    /// One a row: as many expressions as columns are written.
    pub values: Vec<String>,
}

const RANDOM_VALUES: usize = 12;

/// What fits the server that answers.
pub fn cases(sql: &mut Sql, generator: &mut ChaCha8Rng) -> Vec<Case> {
    let version: String = sql.value("SELECT VERSION()");
    let mut parts = version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    let version = (part(), part(), part());
    let names_in_binlog =
        version.0 >= 8 && sql.value::<String>("SELECT @@GLOBAL.binlog_row_metadata") == "FULL";
    let mut cases = integers(generator);
    cases.extend(decimals(generator));
    cases.extend(floating(generator));
    cases.extend(zerofill());
    if !names_in_binlog {
        cases.extend(decimals_shown());
    }
    cases.extend(bits(generator));
    cases.extend(temporal(generator));
    cases.extend(enums_and_sets(generator));
    cases.extend(binary(generator));
    cases.extend(documents());
    cases.extend(geometries());
    cases.extend(character_sets(sql));
    cases.extend(generated(version));
    if version.0 >= 9 {
        cases.extend(vectors(generator));
    }
    cases
}

fn case(column_type: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Case {
    let mut values: Vec<String> = values.into_iter().map(Into::into).collect();
    values.push("NULL".to_owned());
    Case { columns: format!("c {column_type} NULL"), written: "c".to_owned(), values }
}

fn with(edges: &[&str], more: Vec<String>) -> Vec<String> {
    edges.iter().map(|&edge| edge.to_owned()).chain(more).collect()
}

fn integers(generator: &mut ChaCha8Rng) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, bits) in
        [("TINYINT", 8), ("SMALLINT", 16), ("MEDIUMINT", 24), ("INT", 32), ("BIGINT", 64)]
    {
        let half = 1_i128 << (bits - 1);
        let edges = |from: i128, to: i128| {
            [from, from + 1, -1, 0, 1, half - 1, to - 1, to].map(|number| number.to_string())
        };
        let signed = edges(-half, half - 1).into_iter();
        let more = random(generator, RANDOM_VALUES, |it| it.random_range(-half..half).to_string());
        cases.push(case(name, signed.chain(more)));
        let unsigned = edges(0, 2 * half - 1).into_iter().chain([half.to_string()]);
        let more = random(generator, RANDOM_VALUES, |it| it.random_range(0..2 * half).to_string());
        cases.push(case(&format!("{name} UNSIGNED"), unsigned.chain(more)));
    }
    cases.push(case("YEAR", ["0", "1901", "2155", "'0'", "'00'", "1970", "69", "70"]));
    cases.push(case("BOOL", ["TRUE", "FALSE", "-1"]));
    cases
}

fn decimals(generator: &mut ChaCha8Rng) -> Vec<Case> {
    let shapes = [
        (1, 0),
        (1, 1),
        (5, 2),
        (9, 0),
        (9, 9),
        (10, 0),
        (18, 9),
        (19, 10),
        (30, 30),
        (38, 7),
        (65, 0),
        (65, 30),
    ];
    let mut cases = Vec::new();
    for (precision, scale) in shapes {
        let number = |digits: &str| {
            let (whole, fraction) = digits.split_at(precision - scale);
            format!("{}.{fraction}", if whole.is_empty() { "0" } else { whole })
        };
        let nines = number(&"9".repeat(precision));
        let least = number(&format!("{:0>precision$}", "1"));
        let edges = [
            nines.clone(),
            format!("-{nines}"),
            least.clone(),
            format!("-{least}"),
            "0".to_owned(),
            "-0.0".to_owned(),
            "-0.4".to_owned(),
            "1".to_owned(),
            "0.5".to_owned(),
        ];
        let more = random(generator, RANDOM_VALUES, |it| {
            let length = it.random_range(1..=precision);
            let digits: String =
                (0..length).map(|_| char::from(b'0' + it.random_range(0..10_u8))).collect();
            let sign = if it.random() { "-" } else { "" };
            format!("{sign}{}", number(&format!("{digits:0>precision$}")))
        });
        cases.push(case(&format!("DECIMAL({precision},{scale})"), edges.into_iter().chain(more)));
    }
    cases.push(case(
        "DECIMAL(65,30) UNSIGNED",
        ["0", "99999999999999999999999999999999999.999999999999999999999999999999"],
    ));
    cases
}

const FLOATING: [&str; 34] = [
    "0",
    "-0e0",
    "1",
    "-1",
    "0.1",
    "-0.1",
    "1.5",
    "100",
    "123456",
    "1234567",
    "999999.5",
    "16777216",
    "16777217",
    "1e14",
    "1e15",
    "999999999999999",
    "123456789012345",
    "1234567890123456",
    "1e16",
    "1e20",
    "1.5e20",
    "-1e20",
    "0.001",
    "0.0001",
    "0.00001",
    "1e-14",
    "1e-15",
    "1.5e-15",
    "1e-16",
    "3.402823466e38",
    "1.175494351e-38",
    "1.4e-45",
    "3.141592653589793",
    "0.30000000000000004",
];

fn floating(generator: &mut ChaCha8Rng) -> Vec<Case> {
    let doubles = [
        "1.7976931348623157e308",
        "-1.7976931348623157e308",
        "2.2250738585072014e-308",
        "5e-324",
        "1e100",
        "9007199254740993",
    ];
    let any_float = |it: &mut ChaCha8Rng| loop {
        let float = f32::from_bits(it.random());
        if float.is_finite() {
            return format!("{float:e}");
        }
    };
    let any_double = |it: &mut ChaCha8Rng| loop {
        let double = f64::from_bits(it.random());
        if double.is_finite() {
            return format!("{double:e}");
        }
    };
    let ordinary = |it: &mut ChaCha8Rng| {
        format!("{:e}", it.random_range(-1e9..1e9_f64) / 10_f64.powi(it.random_range(0..18)))
    };
    let count = 3 * RANDOM_VALUES;
    let mut floats = with(&FLOATING, random(generator, count, any_float));
    floats.extend(random(generator, count, ordinary));
    let mut more = with(&doubles, random(generator, count, any_double));
    more.extend(random(generator, count, ordinary));
    let mut all = with(&FLOATING, more);
    let whole = |it: &mut ChaCha8Rng| format!("{}e0", it.random::<u64>() >> it.random_range(0..30));
    all.extend(random(generator, count, whole));
    vec![
        case("FLOAT", floats.clone()),
        case("FLOAT UNSIGNED", floats),
        case("DOUBLE", all.clone()),
        case("DOUBLE UNSIGNED", all),
    ]
}

/// FLOAT and DOUBLE whose decimals only information_schema knows.
fn decimals_shown() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in [
        "FLOAT(10,2)",
        "FLOAT(7,4)",
        "FLOAT(20,10)",
        "FLOAT(5,0)",
        "DOUBLE(10,2)",
        "DOUBLE(30,20)",
        "DOUBLE(53,30)",
        "DOUBLE(15,0)",
        "FLOAT(7,3) ZEROFILL",
        "DOUBLE(20,5) ZEROFILL",
        "FLOAT ZEROFILL",
        "DOUBLE ZEROFILL",
    ] {
        let values = [
            "0",
            "-0e0",
            "1",
            "-1.5",
            "0.1",
            "0.005",
            "2.345",
            "12345678.9",
            "-0.001",
            "-1e-25",
            "99999.999",
            "1e20",
            "1e9",
            "0.125",
            "1e-7",
            "1.23456e-7",
            "1.2345678901234567e-9",
            "1.5e13",
        ];
        cases.push(case(shape, values));
    }
    cases
}

/// Only information_schema knows of the zeros before these.
fn zerofill() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in [
        "INT(5) ZEROFILL",
        "TINYINT ZEROFILL",
        "BIGINT(20) UNSIGNED ZEROFILL",
        "MEDIUMINT(3) ZEROFILL",
        "DECIMAL(5,2) ZEROFILL",
        "DECIMAL(9,9) ZEROFILL",
        "DECIMAL(30,0) ZEROFILL",
    ] {
        cases.push(case(shape, ["0", "1", "42", "0.5", "999999", "12.345"]));
    }
    cases
}

fn bits(generator: &mut ChaCha8Rng) -> Vec<Case> {
    let of_width = |width: u32| {
        let max = u64::MAX >> (64 - width);
        let more = random(generator, RANDOM_VALUES, |it| it.random_range(0..=max).to_string());
        case(&format!("BIT({width})"), with(&["0", "1", &max.to_string()], more))
    };
    [1, 7, 8, 9, 33, 63, 64].into_iter().map(of_width).collect()
}

const TIMES: [&str; 14] = [
    "'00:00:00'",
    "'-00:00:00.000001'",
    "'-00:00:00.5'",
    "'-00:00:01'",
    "'-00:00:01.999999'",
    "'-00:00:59.99'",
    "'838:59:59'",
    "'-838:59:59'",
    "'838:59:58.999999'",
    "'-838:59:58.999999'",
    "'24:00:00'",
    "'100:00:00.1'",
    "'23:59:59.999999'",
    "'-01:00:00.000010'",
];

const DATETIMES: [&str; 8] = [
    "'0000-00-00 00:00:00'",
    "'2024-00-00 12:00:00'",
    "'0000-01-01 00:00:00.000001'",
    "'1000-01-01 00:00:00'",
    "'9999-12-31 23:59:59.499999'",
    "'9999-12-31 23:59:58.999999'",
    "'2024-02-29 12:34:56.789012'",
    "'1969-12-31 23:59:59.9'",
];

const TIMESTAMPS: [&str; 8] = [
    "'0000-00-00 00:00:00'",
    "'1970-01-01 00:00:01'",
    "'1970-01-01 00:00:01.999999'",
    "'2038-01-19 03:14:07'",
    "'2038-01-19 03:14:07.499999'",
    "'2000-02-29 00:00:00'",
    "'2024-12-31 23:59:59.123456'",
    "'2024-03-31 01:30:00'",
];

fn temporal(generator: &mut ChaCha8Rng) -> Vec<Case> {
    let date = |it: &mut ChaCha8Rng| {
        format!(
            "{:04}-{:02}-{:02}",
            it.random_range(0..10_000),
            it.random_range(0..13),
            it.random_range(0..32)
        )
    };
    let clock = |it: &mut ChaCha8Rng, hours: u32| {
        let micros = it.random_range(0..1_000_000);
        format!(
            "{:02}:{:02}:{:02}.{micros:06}",
            it.random_range(0..hours),
            it.random_range(0..60),
            it.random_range(0..60)
        )
    };
    let mut cases = vec![case(
        "DATE",
        with(
            &[
                "'0000-00-00'",
                "'2024-00-00'",
                "'2024-02-00'",
                "'1000-01-01'",
                "'9999-12-31'",
                "'0001-01-01'",
                "'2024-02-31'",
                "'nonsense'",
            ],
            random(generator, RANDOM_VALUES, |it| format!("'{}'", date(it))),
        ),
    )];
    for digits in 0..=6 {
        let more = random(generator, RANDOM_VALUES, |it| {
            format!("'{}{}'", if it.random() { "-" } else { "" }, clock(it, 838))
        });
        cases.push(case(&format!("TIME({digits})"), with(&TIMES, more)));
        let more =
            random(generator, RANDOM_VALUES, |it| format!("'{} {}'", date(it), clock(it, 24)));
        cases.push(case(&format!("DATETIME({digits})"), with(&DATETIMES, more)));
        let more = random(generator, RANDOM_VALUES, |it| {
            let seconds = it.random_range(1..i32::MAX);
            format!("FROM_UNIXTIME({seconds}.{:06})", it.random_range(0..1_000_000))
        });
        cases.push(case(&format!("TIMESTAMP({digits})"), with(&TIMESTAMPS, more)));
    }
    cases
}

fn enums_and_sets(generator: &mut ChaCha8Rng) -> Vec<Case> {
    let many: Vec<String> = (0..300).map(|number| format!("'m{number}'")).collect();
    let members: Vec<String> = (0..64).map(|number| format!("'s{number}'")).collect();
    let any_set = random(generator, RANDOM_VALUES, |it| it.random::<u64>().to_string());
    let odd = "'','a','b c','it''s','\\\\','\\n\\t','\"','é漢','-1','0','%','a.b','null'";
    let every_odd: Vec<String> = (0..=13).map(|number| number.to_string()).collect();
    let odd_sets: Vec<String> = (0..13).map(|bit| (1 << bit).to_string()).collect();
    vec![
        case(
            &format!("ENUM({odd}) CHARACTER SET utf8mb4"),
            with(&["''", "'a'", "'no member'"], every_odd),
        ),
        case(
            &format!("ENUM({})", many.join(",")),
            ["'m0'", "'m254'", "'m255'", "'m256'", "'m299'", "'none'"],
        ),
        case(
            &format!("SET({odd}) CHARACTER SET utf8mb4"),
            with(&["0", "''", "3", "2", "6", "7", "8191", "'a,null'", "'none'"], odd_sets),
        ),
        case("SET('','x')", ["0", "1", "2", "3"]),
        case("SET('x','','y')", ["0", "1", "2", "3", "5", "6", "7"]),
        case(&format!("SET({})", members[..9].join(",")), ["511", "256"]),
        case(&format!("SET({})", members[..33].join(",")), ["8589934591", "4294967296"]),
        case(
            &format!("SET({})", members.join(",")),
            with(&["18446744073709551615", "9223372036854775808", "1"], any_set),
        ),
    ]
}

fn binary(generator: &mut ChaCha8Rng) -> Vec<Case> {
    let mut any = |length: usize| {
        let bytes: String =
            (0..length).map(|_| format!("{:02x}", generator.random::<u8>())).collect();
        format!("x'{bytes}'")
    };
    let short = ["''", "'a'", "'é'", "x'00'", "x'6100'", "x'ff'", "x'00ff00'", "'a  '", "'日本'"];
    let mut cases = Vec::new();
    for column_type in [
        "BINARY(1)",
        "BINARY(8)",
        "BINARY(255)",
        "VARBINARY(10)",
        "VARBINARY(300)",
        "TINYBLOB",
        "BLOB",
        "MEDIUMBLOB",
        "LONGBLOB",
        "CHAR(20) CHARACTER SET binary",
        "VARCHAR(20) CHARACTER SET binary",
        "TEXT CHARACTER SET binary",
    ] {
        cases.push(case(column_type, with(&short, vec![any(1), any(7), any(8), any(300)])));
    }
    cases.push(case("LONGBLOB", [any(70_000)]));
    cases
}

fn documents() -> Vec<Case> {
    let deep = format!("'{}1{}'", "[".repeat(90), "]".repeat(90));
    let deep_object = format!("'{}1{}'", "{\"a\":".repeat(90), "}".repeat(90));
    let mut values: Vec<String> = [
        "'null'",
        "'{}'",
        "'[]'",
        "'\"\"'",
        "'1'",
        "'-1'",
        "'18446744073709551615'",
        "'-9223372036854775808'",
        "'1.0'",
        "'-0.0'",
        "'1e20'",
        "'1e-20'",
        "'1.5'",
        "'123456789012345678901234567890'",
        "'0.1'",
        "'1e15'",
        "'999999999999999'",
        "'{\"b\": 1, \"a\": [true, false, null], \"ключ\": \"значение\", \"emoji\": \"😀\"}'",
        "'\"\\\\u0000\\\\u001f\\\\n\\\\\\\\\\\\\"/\\\\u2028\"'",
        "CAST(CAST(1.50 AS DECIMAL(10,2)) AS JSON)",
        "CAST(CAST(-0.00 AS DECIMAL(65,30)) AS JSON)",
        "CAST(99999999999999999999999999999999999.999999999999999999999999999999 AS JSON)",
        "CAST(CAST('2024-02-29' AS DATE) AS JSON)",
        "CAST(CAST('0000-00-00' AS DATE) AS JSON)",
        "CAST(CAST('2024-02-29 12:34:56.789012' AS DATETIME(6)) AS JSON)",
        "CAST(CAST('-838:59:59' AS TIME) AS JSON)",
        "CAST(CAST('-00:00:00.5' AS TIME(1)) AS JSON)",
        "CAST(CAST('100:00:00' AS TIME) AS JSON)",
        "CAST(TIMESTAMP('2038-01-19 03:14:07') AS JSON)",
        "CAST(x'00ff' AS JSON)",
        "CAST(b'101' AS JSON)",
        "CAST(REPEAT(x'ff', 200) AS JSON)",
        "JSON_OBJECT('blob', CAST('abc' AS BINARY))",
        "JSON_ARRAY(1.10, TRUE, NOW(), CURTIME(6), x'00')",
        "JSON_OBJECT('big', REPEAT('x', 70000))",
        "JSON_OBJECT('a', CAST(3 AS UNSIGNED), 'd', 1e0)",
        "CAST(ST_GeomFromText('POINT(1 2)') AS JSON)",
        "JSON_ARRAY(CAST(YEAR('2024-01-01') AS UNSIGNED))",
    ]
    .map(str::to_owned)
    .to_vec();
    values.extend([deep, deep_object]);
    vec![case("JSON", values)]
}

fn geometries() -> Vec<Case> {
    let values = [
        "ST_GeomFromText('POINT(1 -2.5)')",
        "ST_GeomFromText('POINT(1 2)', 4326)",
        "ST_GeomFromText('LINESTRING(0 0, 1 1)')",
        "ST_GeomFromText('POLYGON((0 0, 0 1, 1 1, 0 0))')",
        "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1), MULTIPOINT(1 2, 3 4))')",
    ];
    vec![
        case("GEOMETRY", values),
        case("POINT", values[..2].to_vec()),
        case("GEOMETRYCOLLECTION", values[4..].to_vec()),
    ]
}

fn vectors(generator: &mut ChaCha8Rng) -> Vec<Case> {
    let any = random(generator, RANDOM_VALUES, |it| {
        let floats: String = (0..it.random_range(1..50))
            .map(|_| {
                loop {
                    let bits: u32 = it.random();
                    if f32::from_bits(bits).is_finite() {
                        return bits
                            .to_le_bytes()
                            .iter()
                            .map(|byte| format!("{byte:02x}"))
                            .collect::<String>();
                    }
                }
            })
            .collect();
        format!("x'{floats}'")
    });
    let edges = [
        "STRING_TO_VECTOR('[0.1,2]')",
        "STRING_TO_VECTOR('[0,-0,1e20,1e-20,3.4e38,16777217]')",
        "STRING_TO_VECTOR('[1]')",
    ];
    vec![
        case("VECTOR(100)", with(&edges, any)),
        case("VECTOR(16383)", ["STRING_TO_VECTOR('[1,2,3]')"]),
    ]
}

const TEXTS: [&str; 15] =
    ["é", "я", "ω", "א", "ع", "ก", "漢", "한", "ą", "ი", "Ա", "€", "ÿ", "あア", "~\\"];

/// Each character set of the server: in CHAR, VARCHAR, TEXT, ENUM and SET.
fn character_sets(sql: &mut Sql) -> Vec<Case> {
    let charsets: Vec<String> = sql.query(
        "SELECT CAST(CHARACTER_SET_NAME AS CHAR) FROM information_schema.CHARACTER_SETS ORDER BY 1",
    );
    assert!(charsets.len() >= 40, "{charsets:?}");
    let mut cases = Vec::new();
    for charset in charsets.iter().filter(|charset| *charset != "binary") {
        let mut values: Vec<String> =
            TEXTS.iter().map(|text| format!("'{}'", text.replace('\\', "\\\\"))).collect();
        values.extend(
            ["''", "'a  '", "'plain \"quoted\" text'", "'😀'", "'line\\nfeed\\0nul'"]
                .map(str::to_owned),
        );
        let kept = |text: &&&str| {
            let text = text.replace('\\', "\\\\");
            let is_kept = format!(
                "SELECT CONVERT(CONVERT('{text}' USING {charset}) USING utf8mb4) = BINARY '{text}'"
            );
            sql.value::<u8>(is_kept) == 1
        };
        let member = TEXTS.iter().find(kept).unwrap_or(&"z").replace('\\', "\\\\");
        for column_type in ["CHAR(40)", "VARCHAR(300)", "TEXT"] {
            cases.push(case(&format!("{column_type} CHARACTER SET {charset}"), values.clone()));
        }
        for column_type in ["ENUM", "SET"] {
            let column_type =
                format!("{column_type}('a','{member}','c d') CHARACTER SET {charset}");
            cases.push(case(&column_type, ["0", "1", "2", "3", "'a'"]));
        }
    }
    cases
}

/// Columns that nobody writes, and those that nobody sees.
fn generated(version: (u32, u32, u32)) -> Vec<Case> {
    let mut columns = "a INT, s VARCHAR(40) AS (CONCAT('s-', a)) STORED, v DECIMAL(10,2) AS (a / 4) VIRTUAL, \
                       j JSON AS (JSON_OBJECT('a', a)) VIRTUAL, d DATETIME(3) AS ('2024-01-01') STORED, b INT"
        .to_owned();
    let values: Vec<String> =
        ["1, 2", "-7, NULL", "NULL, 3", "2147483647, 0"].map(str::to_owned).to_vec();
    let mut cases = Vec::new();
    let of = |columns: &str| Case {
        columns: columns.to_owned(),
        written: "a, b".to_owned(),
        values: values.clone(),
    };
    cases.push(of(&format!("{columns}, INDEX (v)")));
    if version >= (8, 0, 23) {
        columns
            .push_str(", hidden VARCHAR(10) INVISIBLE DEFAULT 'h', i INT AS (a) VIRTUAL INVISIBLE");
        cases.push(of(&columns));
        // An index on an expression is a hidden column, and one on an array another.
        cases.push(of(&format!(
            "{columns}, INDEX ((a + 0)), tags JSON, INDEX ((CAST(tags AS UNSIGNED ARRAY)))"
        )));
    }
    cases
}
