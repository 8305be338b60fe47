"""A source is read strictly: what is not plainly right is reported with its line."""

from pathlib import Path

import pytest

from evpower.client_migration import CsvSource, SourceError
from evpower.client_migration.model import SourceRow

BCRYPT = "$2b$10$" + "a" * 53


async def read(path: Path, **options: object) -> list[SourceRow]:
    return [row async for row in CsvSource(path, **options).rows()]  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "old.csv"


class TestFile:
    @pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
    @pytest.mark.parametrize("between", [b",", b";", b"\t"])
    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    async def test_marks_delimiters_and_line_ends(
        self, file: Path, start: bytes, between: bytes, end: bytes
    ) -> None:
        lines = [b"ID|Email|Phone", b"7|a@example.kg|0555112233", b""]
        file.write_bytes(start + end.join(lines).replace(b"|", between))
        [row] = await read(file)
        assert (row.line, row.old_id, row.email, row.phone) == (
            2, "7", "a@example.kg", "+996555112233",
        )  # fmt: skip
        assert (row.invalid, row.email_confirmed, row.phone_confirmed) == (
            None,
            "assumed",
            "assumed",
        )

    async def test_tags_may_hold_the_other_delimiter(self, file: Path) -> None:
        file.write_text('id,id_tags\n1,"AA; bb;AA;"\n')
        [row] = await read(file)
        assert row.id_tags == ("aa", "bb")

    @pytest.mark.parametrize("none", ["-", "\u2014", ":", ".", " - ", "-;;:"])
    async def test_only_signs_are_no_tag(self, file: Path, none: str) -> None:
        file.write_text(f'id,id_tags\n1,"{none}"\n2,"{none};A-1"\n')
        rows = await read(file)
        assert [(row.id_tags, row.invalid) for row in rows] == [((), None), (("a1",), None)]

    async def test_quotes_blank_lines_and_line_numbers(self, file: Path) -> None:
        file.write_text('id,name\n1,"two\nlines"\n\n2,"a ""b"", c"\n,,\n')
        rows = await read(file)
        assert [(row.line, row.old_id, row.name) for row in rows] == [
            (2, "1", "two lines"), (5, "2", 'a "b", c'),
        ]  # fmt: skip

    @pytest.mark.parametrize("between", [",", ";", "\t"])
    async def test_an_empty_line_of_a_spreadsheet_is_none(self, file: Path, between: str) -> None:
        lines = ["id,email,name", ",,", " , ,", "1,a@example.kg,", ",,"]
        file.write_text("\n".join(lines).replace(",", between))
        [row] = await read(file)
        assert (row.line, row.invalid) == (4, None)

    async def test_a_field_of_ten_megabytes_is_one_line(self, file: Path) -> None:
        file.write_text("id,name\n1," + "x" * 10_000_000 + "\n")
        with pytest.raises(SourceError, match="line"):
            await read(file)

    async def test_a_row_of_another_length_is_not_guessed(self, file: Path) -> None:
        file.write_text("id,email\n1,a@example.kg,x\n2\n3,c@example.kg\n")
        rows = await read(file)
        assert [(row.line, row.invalid) for row in rows] == [
            (2, "fields_miscounted"), (3, "fields_miscounted"), (4, None),
        ]  # fmt: skip

    async def test_what_is_no_utf_8_spoils_its_own_row_alone(self, file: Path) -> None:
        file.write_bytes(b"id,name\n1,\xc0\xe9\xe4\xe0\n2,Aida\x00\n3,\xd0\x90\n")
        rows = await read(file)
        assert [row.invalid for row in rows] == ["not_readable", "not_readable", None]

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "empty"),
            ("email,phone\n", "old id"),
            ("id,email,Email\n", "twice"),
            ('id,name\n1,"never closed\n', "line"),
        ],
    )
    async def test_a_file_that_makes_no_sense_is_refused(
        self, file: Path, text: str, says: str
    ) -> None:
        file.write_text(text)
        with pytest.raises(SourceError, match=says):
            await read(file)

    async def test_no_file(self, file: Path) -> None:
        with pytest.raises(SourceError):
            await read(file)


class TestColumns:
    async def test_names_may_be_mapped_and_left_out(self, file: Path) -> None:
        file.write_text("client_no,mail,balance,phone\n1,a@example.kg,5,none\n")
        mapped = {"old_id": "client_no", "email": "Mail", "balance": "", "phone": ""}
        [row] = await read(file, mapped=mapped)
        assert (row.old_id, row.email, row.balance_minor, row.phone) == (
            "1", "a@example.kg", 0, None,
        )  # fmt: skip

    @pytest.mark.parametrize("mapped", [{"old_id": "nothing"}, {"nothing": "id"}])
    async def test_a_mapping_of_nothing_is_refused(
        self, file: Path, mapped: dict[str, str]
    ) -> None:
        file.write_text("id\n1\n")
        with pytest.raises(SourceError):
            await read(file, mapped=mapped)

    async def test_supabases_own_export_is_understood(self, file: Path) -> None:
        file.write_text(
            "id,email,encrypted_password,email_confirmed_at\n"
            f"1,a@example.kg,{BCRYPT},2024-01-02 03:04:05.678+00\n2,b@example.kg,,\n"
        )
        first, second = await read(file)
        assert (first.email_confirmed, first.password, first.password_hash) == (
            "yes", "carried", BCRYPT,
        )  # fmt: skip
        assert (second.email_confirmed, second.password) == ("no", "none")

    async def test_an_absent_flag_can_be_doubted(self, file: Path) -> None:
        file.write_text("id,email,phone\n1,a@example.kg,0555112233\n")
        [row] = await read(file, unconfirmed=frozenset({"phone"}))
        assert (row.email_confirmed, row.phone_confirmed) == ("assumed", "no")


class TestRow:
    @pytest.mark.parametrize(
        ("field", "value", "wrong"),
        [
            ("id", " ", "old_id_missing"),
            ("id", "x" * 201, "old_id_invalid"),
            ("id", "a\u200bb", "old_id_invalid"),
            ("email", "no-address", "email_invalid"),
            ("phone", "12", "phone_invalid"),
            ("email_confirmed", "perhaps", "flag_invalid"),
            ("id_tags", "x" * 201, "id_tags_invalid"),
            ("id_tags", "AB\tCD", "id_tags_invalid"),
            ("id_tags", "AA;\u200b", "id_tags_invalid"),
            ("id_tags", ";".join(str(n) for n in range(51)), "id_tags_invalid"),
            ("balance", "-0.01", "balance_negative"),
            ("balance", "12,5", "balance_invalid"),
            ("balance", "NaN", "balance_invalid"),
            ("balance", "1e30", "balance_invalid"),
            ("balance", "much", "balance_invalid"),
        ],
    )
    async def test_is_wrong(self, file: Path, field: str, value: str, wrong: str) -> None:
        fields = {"id": "1", "email": "a@example.kg", field: f'"{value}"'}
        file.write_text(f"{','.join(fields)}\n{','.join(fields.values())}\n")
        [row] = await read(file)
        assert row.invalid == wrong

    @pytest.mark.parametrize(
        ("text", "minor"),
        [("", 0), ("0", 0), ("12.5", 1250), ("0.005", 1), ("0.0049", 0), (" 7 ", 700), ("-0", 0)],
    )
    async def test_money(self, file: Path, text: str, minor: int) -> None:
        file.write_text(f"id,balance\n1,{text}\n")
        [row] = await read(file)
        assert (row.balance_minor, row.invalid) == (minor, None)

    @pytest.mark.parametrize(
        ("hashed", "kind"),
        [
            (BCRYPT, "carried"),
            (BCRYPT.replace("$2b$", "$2y$"), "carried"),
            ("$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzYWx0$" + "A" * 43, "carried"),
            ("$argon2d$v=19$m=65536,t=3,p=4$c29tZXNhbHRzYWx0$" + "A" * 43, "unknown"),
            ("$argon2id$v=16$m=65536,t=3,p=4$c29tZXNhbHRzYWx0$" + "A" * 43, "unknown"),
            (BCRYPT.replace("$10$", "$32$"), "unknown"),
            (BCRYPT + "a", "unknown"),
            ("$2x$10$" + "a" * 53, "unknown"),
            ("pbkdf2_sha256$1000$x$y", "unknown"),
            ("secret", "unknown"),
        ],
    )
    async def test_password_hashes(self, file: Path, hashed: str, kind: str) -> None:
        file.write_text(f'id,password_hash\n1,"{hashed}"\n')
        [row] = await read(file)
        assert row.password == kind
        assert (row.password_hash == hashed) is (kind == "carried")
        assert hashed not in repr(row)
