"""What messages show of what came from elsewhere."""

from tlw.runtime.errors import printable, without_secrets


def test_other_programs_messages_are_shown_without_theirs():
    text = "GET https://me:pw@host/simple?key=1 failed (see 'http://x/y?a=b&c=d')"
    assert without_secrets(text) == "GET https://host/simple?... failed (see 'http://x/y?...')"


def test_control_characters_are_escaped_and_all_else_is_as_it_was():
    assert printable("é, \U0001f600 and\ntwo lines") == "é, \U0001f600 and\ntwo lines"
    assert printable("\x1b[2J\r\t\x9b\u202e") == r"\x1b[2J\r\t\x9b\u202e"
