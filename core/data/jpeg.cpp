// JPEG by libjpeg-turbo with the library's defaults (accurate integer DCT, smooth upsampling), as Pillow uses it.
//
// libjpeg reports a fatal error by a call that must not return. It is left by longjmp, which runs no destructors;
// so the two functions between setjmp and the library hold nothing that has one, and everything lives in JpegReader.
#include <setjmp.h>

#include <cstdio>
#include <cstring>
#include <string_view>
#include <vector>

#include <jpeglib.h>

#include <jerror.h>

#include "core/data/codec.h"
#include "core/data/exif.h"

namespace t2i {
namespace {

struct JpegReader {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  jmp_buf escape;
  char text[JMSG_LENGTH_MAX] = "";
  int max_scans = 0;
  bool ended = false;    // the bytes ran out somewhere
  bool ran_dry = false;  // and pixels were still wanted
  bool damaged = false;  // nonsense within the data
  bool too_many_scans = false;
  bool needs_memory = false;

  JpegReader() = default;
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&info); }
};

JpegReader& reader_of(j_common_ptr info) { return *static_cast<JpegReader*>(info->client_data); }

[[noreturn]] void on_error(j_common_ptr info) {
  JpegReader& reader = reader_of(info);
  if (!reader.ran_dry && !reader.too_many_scans) info->err->format_message(info, reader.text);
  reader.needs_memory = info->err->msg_code == JERR_NO_BACKING_STORE || info->err->msg_code == JERR_OUT_OF_MEMORY;
  longjmp(reader.escape, 1);
}

void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;  // a trace, not a warning
  JpegReader& reader = reader_of(info);
  int code = info->err->msg_code;
  if (code == JWRN_JPEG_EOF) reader.ended = true;  // the decoder reads ahead: no harm yet
  else if (code == JWRN_HIT_MARKER && reader.info.unread_marker == JPEG_EOI &&
           (reader.ended || reader.info.input_iMCU_row + 1 < reader.info.total_iMCU_rows)) {
    // Cut, or cut and closed again with an end marker: libjpeg would fill with grey. (A few bits short of the end
    // within the last row, as some cameras write, is mere damage.)
    reader.ended = reader.ran_dry = true;
    on_error(info);
  } else if (code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE || code == JWRN_MUST_RESYNC ||
             code == JWRN_ARITH_BAD_CODE || code == JWRN_BOGUS_PROGRESSION)
    reader.damaged = true;
}

void on_progress(j_common_ptr info) {
  JpegReader& reader = reader_of(info);
  if (reader.info.input_scan_number <= reader.max_scans) return;
  reader.too_many_scans = true;
  on_error(info);
}

bool read_header(JpegReader& reader, const unsigned char* bytes, unsigned long count) {
  reader.info.err = jpeg_std_error(&reader.errors);
  reader.errors.error_exit = on_error;
  reader.errors.emit_message = on_message;
  reader.errors.output_message = [](j_common_ptr) {};
  reader.progress.progress_monitor = on_progress;
  if (setjmp(reader.escape)) return false;
  reader.info.client_data = &reader;
  jpeg_create_decompress(&reader.info);
  reader.info.progress = &reader.progress;
  jpeg_mem_src(&reader.info, bytes, count);
  jpeg_read_header(&reader.info, TRUE);
  return true;
}

// `rows` has room for every row of `stride` bytes.
bool read_rows(JpegReader& reader, unsigned char* rows, size_t stride) {
  if (setjmp(reader.escape)) return false;
  jpeg_start_decompress(&reader.info);
  while (reader.info.output_scanline < reader.info.output_height) {
    JSAMPROW row = rows + stride * reader.info.output_scanline;
    jpeg_read_scanlines(&reader.info, &row, 1);
  }
  return true;
}

// What the markers say, without decoding: thumbnails inside segments are stepped over, entropy-coded data too.
struct Markers {
  int scans = 0;
  int orientation = 0;
};

Markers read_markers(std::span<const std::byte> file) {
  Markers found;
  int from_xmp = 0;
  auto bytes = reinterpret_cast<const unsigned char*>(file.data());
  size_t at = 2, end = file.size();
  while (at + 1 < end) {
    auto marker_start = static_cast<const unsigned char*>(std::memchr(bytes + at, 0xff, end - at));
    if (!marker_start) break;
    at = static_cast<size_t>(marker_start - bytes) + 1;
    if (at >= end) break;
    unsigned char marker = bytes[at];
    if (marker == 0xff) continue;  // a fill byte
    ++at;
    if (marker == 0 || marker == 1 || (marker >= 0xd0 && marker <= 0xd8)) continue;  // data, or no segment follows
    if (marker == 0xd9 || at + 2 > end) break;
    size_t size = static_cast<size_t>(bytes[at]) << 8 | bytes[at + 1];
    if (size < 2 || size > end - at) break;
    auto segment = file.subspan(at + 2, size - 2);
    std::string_view text(reinterpret_cast<const char*>(segment.data()), segment.size());
    constexpr std::string_view exif_name("Exif\0\0", 6), xmp_name("http://ns.adobe.com/xap/1.0/\0", 29);
    if (marker == 0xda) ++found.scans;
    if (marker == 0xe1 && text.starts_with(exif_name) && !found.orientation)
      found.orientation = exif_orientation(segment);
    if (marker == 0xe1 && text.starts_with(xmp_name)) from_xmp = xmp_orientation(text.substr(xmp_name.size()));
    at += size;
  }
  if (!found.orientation) found.orientation = from_xmp;
  return found;
}

// Ink to light. `inks` is as Adobe stores it, inverted: 255 is no ink.
void cmyk_to_rgb(const uint8_t* inks, uint8_t* rgb, size_t pixels) {
  for (size_t i = 0; i < pixels; ++i, inks += 4, rgb += 3)
    for (int c = 0; c < 3; ++c) {
      uint32_t product = (255u - inks[c]) * inks[3] + 128u;  // ink × light that black lets through
      rgb[c] = static_cast<uint8_t>(inks[3] - ((product + (product >> 8)) >> 8));
    }
}

}  // namespace

Result<Image> decode_jpeg(std::span<const std::byte> file, const std::string& where, const DecodeLimits& limits) {
  JpegReader reader;
  reader.max_scans = limits.max_jpeg_scans;
  std::optional<Error> header_error;
  if (!read_header(reader, reinterpret_cast<const unsigned char*>(file.data()), file.size()))
    header_error = damaged(where, "JPEG", reader.ended, 0, reader.ended ? "" : reader.text);
  jpeg_decompress_struct& info = reader.info;
  uint64_t width = info.image_width, height = info.image_height;
  bool size_known = !header_error || reader.errors.msg_code == JERR_IMAGE_TOO_BIG;  // libjpeg has a limit of its own
  if (size_known)
    if (auto error = too_large(width, height, where, limits)) return *error;
  if (header_error) return *header_error;
  Markers markers = read_markers(file);
  auto too_many = [&](int scans) {
    return Error{where,
                 "JPEG of " + std::to_string(scans) + " or more scans",
                 "Each one goes over all " + std::to_string(width) + " × " + std::to_string(height) +
                     " pixels again; real files have about ten",
                 "save it again without progressive mode",
                 "E3007",
                 Exit::bad_data};
  };
  auto scans = static_cast<uint64_t>(markers.scans);
  if (markers.scans > limits.max_jpeg_scans || (scans > 20 && scans * width * height > limits.max_jpeg_scan_pixels))
    return too_many(markers.scans);

  bool four_inks = info.num_components == 4, grey = info.num_components == 1;
  info.out_color_space = four_inks ? JCS_CMYK : JCS_RGB;
  info.mem->max_memory_to_use = static_cast<long>((limits.max_bytes_per_pixel - 3) * limits.max_pixels);
  size_t channels = four_inks ? 4 : 3;
  Image image = blank_image(width, height);
  std::vector<uint8_t> inks(four_inks ? width * height * 4 : 0);
  bool several_scans = jpeg_has_multiple_scans(&info);
  bool whole = read_rows(reader, four_inks ? inks.data() : image.rgb.data(), width * channels);
  if (reader.too_many_scans) return too_many(limits.max_jpeg_scans + 1);
  if (reader.needs_memory)
    return Error{where,   "decoding it needs more memory than a picture may take",
                 "",      "save it again without progressive mode",
                 "E3007", Exit::bad_data};
  if (!whole || (several_scans && reader.ended)) {
    // With several scans no row is complete before the last one: count the rows of all scans that were to come.
    double share = several_scans ? 0 : static_cast<double>(info.output_scanline) / static_cast<double>(height);
    if (several_scans && info.total_iMCU_rows > 0 && markers.scans > 0)
      share = std::min(1.0, static_cast<double>(info.input_iMCU_row) / info.total_iMCU_rows);
    Error error = damaged(where, "JPEG", reader.ended, share, reader.ended ? "" : reader.text);
    if (several_scans && reader.ended)
      error.what += " of scan " + std::to_string(std::max(1, info.input_scan_number)) + " (progressive)";
    return error;
  }
  if (four_inks) {
    cmyk_to_rgb(inks.data(), image.rgb.data(), width * height);
    image.notes.push_back(note_cmyk);
  }
  if (grey) image.notes.push_back(note_grey);
  if (reader.damaged) image.notes.push_back(note_damage);
  turn_upright(image, markers.orientation);
  if (markers.orientation > 1 && markers.orientation <= 8) image.notes.push_back(note_turned);
  return image;
}

}  // namespace t2i
