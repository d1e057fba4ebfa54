// The shells' half: it hands the words to `t2i __complete` and its answer to the shell. Only files are the shell's own
// business, so that ~, quotes and the slash behind a folder are as the user knows them.
#include "apps/t2i/completion/complete.h"

namespace t2i {
namespace {

const char bash[] = R"script(# bash completion of t2i:  source <(t2i completion bash)
_t2i() {
  local rest=${COMP_LINE:0:COMP_POINT} word line prefix full kind i
  local -a words=()
  rest=${rest#"${rest%%"${COMP_WORDS[0]}"*}"}
  # Bash cuts words at = and : as well. What no space stands between is one word here.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if ((i > 0)) && [[ $rest != [[:space:]]* ]]; then
      ((i == COMP_CWORD)) && word=$rest
      words[${#words[@]} - 1]+=$word
    else
      while [[ $rest == [[:space:]]* ]]; do rest=${rest#?}; done
      ((i == COMP_CWORD)) && word=$rest
      words+=("$word")
    fi
    rest=${rest#"$word"}
  done
  local cur=${words[${#words[@]} - 1]} cut= breaks=${COMP_WORDBREAKS//[!=:]/}
  # It replaces no more than what follows the last of them, so the rest of the word is left out of the answers.
  [[ -n $breaks && $cur == *["$breaks"]* ]] && cut=${cur%"${cur##*["$breaks"]}"}
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :nospace) compopt -o nospace 2>/dev/null ;;
      :files$'\t'* | :folders$'\t'*)
        kind=-f
        [[ $line == :folders* ]] && kind=-d
        prefix=${line#*$'\t'}
        compopt -o filenames 2>/dev/null
        while IFS= read -r word; do
          full=$prefix$word
          COMPREPLY+=("${full#"$cut"}")
        done < <(compgen "$kind" -- "${cur#"$prefix"}")
        ;;
      ?*)
        line=${line%%$'\t'*}
        COMPREPLY+=("${line#"$cut"}")
        ;;
    esac
  done < <("${words[0]/#\~/$HOME}" __complete "${words[@]:1}" 2>/dev/null)
}
complete -F _t2i t2i
)script";

const char zsh[] = R"script(#compdef t2i
# zsh completion of t2i:  t2i completion zsh > a file _t2i in a folder of $fpath, or  source <(t2i completion zsh)
_t2i() {
  local line text space=' ' paths=
  local -a values shown
  for line in "${(@f)$("${(Q)words[1]}" __complete "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}"; do
    case $line in
      (:nospace) space= ;;
      (:files$'\t'*) paths=files ;;
      (:folders$'\t'*) paths=folders ;;
      (?*)
        text=${line%%$'\t'*}
        values+=("$text")
        [[ $line == *$'\t'* ]] && text="$text  -- ${line#*$'\t'}"
        shown+=("$text")
        ;;
    esac
  done
  (( $#values )) && compadd -S "$space" -l -d shown -a values
  if [[ -n $paths ]]; then
    compset -P '*='
    if [[ $paths == folders ]]; then _files -/; else _files; fi
  fi
}
if [[ $funcstack[1] == _t2i ]]; then _t2i "$@"; else compdef _t2i t2i; fi
)script";

const char fish[] = R"script(# fish completion of t2i:  t2i completion fish > ~/.config/fish/completions/t2i.fish
function __t2i_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
        switch $line
            case ':nospace'
            case ':files*' ':folders*'
                set -l prefix (string split -m 1 \t -- $line)[2]
                for path in (__fish_complete_path (string sub -s (math (string length -- "$prefix") + 1) -- "$current"))
                    echo "$prefix$path"
                end
            case '*'
                echo $line
        end
    end
end
complete -c t2i -f -a '(__t2i_complete)'
)script";

}  // namespace

const char* completion_script(const std::string& shell) { return shell == "bash" ? bash : shell == "zsh" ? zsh : fish; }

}  // namespace t2i
