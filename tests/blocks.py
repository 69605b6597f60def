"""What stands between fences in a page: the code that a reader copies."""

import re
import shlex

_FENCE = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```", flags=re.MULTILINE | re.DOTALL)


def blocks(text, *languages):
    """Return the blocks of a page in order, each with its language.

    Args:
        text: Markdown.
        languages: those that are asked for; all by default.
    """
    found = [
        (language, re.sub(rf"^{indent}", "", code, flags=re.MULTILINE))
        for indent, language, code in _FENCE.findall(text)
    ]
    return [block for block in found if not languages or block[0] in languages]


def commands(code):
    """Return the `keras-kd` commands of a block, each with the lines shown below it.

    Args:
        code: lines of a shell. Where some begin with `$`, those without show what was said.
    """
    found = []
    has_prompts = re.search(r"^\$ ", code, flags=re.MULTILINE)
    for line in code.replace("\\\n", " ").splitlines():
        if line.startswith("$ ") or not has_prompts:
            found.append((shlex.split(line.removeprefix("$ "), comments=True), []))
        elif found:
            found[-1][1].append(line)
    return [(words[1:], shown) for words, shown in found if words[:1] == ["keras-kd"]]
