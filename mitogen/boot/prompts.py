"""
How programs ask for a password. Ring 1, pure: one regular expression.

They are told not to translate (mitogen.boot.process.UNTRANSLATED), and to print a text of our choice where they can be.
Neither always helps: a PAM module may have a text of its own, a library no ear for the environment. So the word for a
password is known in every language that Linux-PAM 1.5, sudo 1.9 and sudo-rs 0.2 are translated into.
"""

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence, Union

#: Stems of the word, each without a first letter that may be a capital where upper and lower case are not one byte
#: apart: a bytes pattern ignores the case of ASCII only.
WORDS = (
    'passwor[dt]', 'passphrase', 'passcode', 'passord', 'pasvorto', 'pasahitza', 'parool', 'parol',
    'palavra-passe', 'senha', 'mot de passe', 'contrase', 'contrasenya', 'contrasigno', 'heslo',
    'adgangskode', 'salasana', 'focal faire', 'jelsz', 'sandi', 'wachtwoord', 'hasło', 'lösenord',
    'slaptažodis', 'geslo', 'lozinka', 'zaporka', 'ật khẩu', 'ifrə', 'ifre', 'iphasiwedi',
    'ароль', 'арола', 'озинка', 'ωδικός', 'პაროლ', 'סיסמ', 'ססמ', 'كلمة', 'گذرواژه',
    'パスワード', '密码', '密碼', '암호', '비밀번호', 'গুপ্তশব্দ', 'পাসওয়ার্ড', 'પાસવર્ડ', 'शब्दकूट',
    'गुप्तशब्द', 'ಗುಪ್ತಪದ', 'അടയാളവാക്ക്', 'ପ୍ରବେଶ ସଙ୍କେତ', 'ਪਾਸਵਰਡ', 'රහස්පදය', 'கடவுச்சொல்',
    'సంకేతపదము', 'ពាក្យសម្ងាត់', 'รหัสผ่าน',
)

#: Ends with a question for a password: the word, something like a name, a colon of some alphabet, and no new line.
PASSWORD = ('(?:%s)[^\\n:]*(?::|：|៖)[ \u00a0]*\\Z' % '|'.join(WORDS)).encode()


def pattern(prompt: 'Union[str, bytes, None]') -> bytes:
    """Return the regular expression for a prompt that the user has given as it is printed, or for any known one."""
    if prompt is None:
        return PASSWORD
    return re.escape(literal('password_prompt', prompt).strip()) + br' *\Z'


def literal(what: str, text: 'Union[str, bytes]') -> bytes:
    """Return text that a program prints, as bytes.

    :raises TypeError: it is neither text nor bytes.
    """
    if not isinstance(text, (str, bytes)):
        raise TypeError('%s must be text or bytes, not %r' % (what, text))
    return text.encode() if isinstance(text, str) else text


def any_of(what: str, texts: 'Sequence[Union[str, bytes]]') -> bytes:
    """Return the regular expression for any of some texts that a program prints.

    :raises TypeError: they are no sequence of texts: one text alone would count as its letters.
    """
    if isinstance(texts, (str, bytes)):
        raise TypeError('%s must be a list of texts, not one text: %r' % (what, texts))
    return b'|'.join(re.escape(literal(what, text)) for text in texts) or br'(?!)'     # matches nothing
