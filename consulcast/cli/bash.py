"""Completion for bash, whose readline takes ``consul:dns-1`` for three words: they are put together again."""

from __future__ import annotations

import os

from click.shell_completion import BashComplete, add_completion_class, split_arg_string

# What is given is the line as it was typed up to the cursor, which is split as bash itself would split a command. What
# is taken back must begin where readline's last word does: behind the last colon, or an option's equals sign.
_SOURCE = """\
%(complete_func)s() {
    local line=${COMP_LINE:0:COMP_POINT} before='' response answer type value
    local word=${line##*[[:space:]]}
    if [[ $word == -*=* ]]; then
        word=${word#*=}
    fi
    if [[ $COMP_WORDBREAKS == *:* && $word != [\\"\\']* ]]; then
        before=${word%%"${word##*:}"}
    fi
    response=$(COMP_LINE=$line %(complete_var)s=bash_complete "$1")
    while IFS= read -r answer; do
        type=${answer%%%%,*} value=${answer#*,}
        case $type in
            dir) COMPREPLY=() && compopt -o dirnames ;;
            file) COMPREPLY=() && compopt -o default ;;
            plain) COMPREPLY+=("${value#"$before"}") ;;
        esac
    done <<<"$response"
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Bash as it is installed everywhere, with a colon in COMP_WORDBREAKS."""

    source_template = _SOURCE

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is being written, without the program's, and that one."""
        line = os.environ.get("COMP_LINE")
        if line is None:  # by a script of a former version
            return super().get_completion_args()
        words = split_arg_string(line)[1:]
        return (words, "") if line[-1:].isspace() or not words else (words[:-1], words[-1])


add_completion_class(Bash)
