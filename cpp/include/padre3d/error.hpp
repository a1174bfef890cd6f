#pragma once

#include <stdexcept>

namespace padre3d {

/// What a user can cause and mend: a damaged file, a wrong option, a backend that is not there.
/// The message is one line that says what was expected and what came.
class Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

}  // namespace padre3d
