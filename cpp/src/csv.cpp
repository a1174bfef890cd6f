#include "csv.hpp"

#include <utility>

namespace padre3d {
namespace {

class Reader {
public:
    void take(char c) {
        if (at_ == At::quoted) {
            if (c == '"')
                at_ = At::closed;
            else
                cell_ += c;
        } else if (c == '"' && at_ != At::plain) {
            // It opens a cell, or is the second of a doubled one.
            if (at_ == At::closed) cell_ += c;
            at_ = At::quoted;
        } else if (c == ',') {
            end_cell();
            at_ = At::after_comma;
        } else if (c == '\n' || c == '\r') {
            end_row();
        } else {
            cell_ += c;
            at_ = At::plain;
        }
    }

    std::vector<std::vector<std::string>> finish() {
        if (at_ != At::row_start) end_row();
        return std::move(rows_);
    }

private:
    enum class At { row_start, after_comma, plain, quoted, closed };

    void end_cell() { row_.push_back(std::exchange(cell_, {})); }

    void end_row() {
        if (at_ != At::row_start) end_cell();
        rows_.push_back(std::exchange(row_, {}));
        at_ = At::row_start;
    }

    std::vector<std::vector<std::string>> rows_;
    std::vector<std::string> row_;
    std::string cell_;
    At at_ = At::row_start;
};

}  // namespace

std::vector<std::vector<std::string>> csv_rows(const std::string& content) {
    Reader reader;
    for (const char c : content) reader.take(c);
    return reader.finish();
}

}  // namespace padre3d
