# Text files as a C++ source: cmake -DOUTPUT=out.cpp -DFOLDER=dir "-DNAMES=a.css,b.js" -DFUNCTION=page_file -P embed.cmake
# It defines `std::string_view FUNCTION(std::string_view name)` in namespace t2i; the text of a file that is not there
# is empty. A raw string's end mark cannot stand in the files: it has a word that nobody writes.
string(REPLACE "," ";" names "${NAMES}")
set(out "#include <string_view>\n\nnamespace t2i {\nstd::string_view ${FUNCTION}(std::string_view name);\n")
string(APPEND out "std::string_view ${FUNCTION}(std::string_view name) {\n")
foreach(name IN LISTS names)
  file(READ "${FOLDER}/${name}" text)
  string(APPEND out "  if (name == \"${name}\")\n    return R\"T2I_EMBED(${text})T2I_EMBED\";\n")
endforeach()
string(APPEND out "  return {};\n}\n}  // namespace t2i\n")
file(WRITE "${OUTPUT}" "${out}")
