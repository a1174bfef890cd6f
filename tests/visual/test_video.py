"""Films of pictures, and that a detection makes them."""

import gc
import weakref

import numpy as np
import pytest

from padre3d.visual.video import HEIGHT_PX, WIDTH_PX, Video, check_video

Image = pytest.importorskip("PIL.Image", reason="needs pillow")


@pytest.fixture
def pictures(tmp_path):
    paths = []
    for number, colour in enumerate([(250, 0, 0), (0, 250, 0), (0, 0, 250)]):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (1600, 1715), colour).save(paths[-1])
    return paths


def test_gif_has_all_frames_in_order(tmp_path, pictures):
    path = tmp_path / "new" / "a.gif"
    video = Video(path, fps=5)
    for picture in pictures:
        video.add(picture)
    video.close()
    film = Image.open(path)
    assert (film.n_frames, film.size, film.info["duration"]) == (3, (WIDTH_PX, HEIGHT_PX), 200)
    for number in range(3):
        film.seek(number)
        assert np.asarray(film.convert("RGB"))[400, 400].argmax() == number
    assert [p.name for p in path.parent.iterdir()] == ["a.gif"]


def test_a_gif_is_written_frame_by_frame(tmp_path, pictures, monkeypatch):
    """However long the film, no more than two of its frames are in memory; equal ones all count."""
    made, most = [], []
    convert = Image.Image.convert

    def recorded(image, *mode, **options):
        found = convert(image, *mode, **options)
        made.append(weakref.ref(found))
        gc.collect()
        most.append(sum(one() is not None for one in made))
        return found

    video = Video(tmp_path / "a.gif", fps=5)
    for _ in range(6):
        video.add(pictures[0])
    monkeypatch.setattr(Image.Image, "convert", recorded)
    video.close()
    monkeypatch.undo()
    assert max(most) <= 2
    film = Image.open(tmp_path / "a.gif")
    assert film.n_frames == 6
    assert film.info["loop"] == 0


def test_mp4_has_all_frames(tmp_path, pictures):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="needs imageio-ffmpeg")
    video = Video(tmp_path / "a.mp4", fps=5)
    for picture in pictures:
        video.add(picture)
    video.close()
    count, seconds = ffmpeg.count_frames_and_secs(str(tmp_path / "a.mp4"))
    assert count == 3
    assert seconds == pytest.approx(0.6, abs=0.1)


def test_impossible_films(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.mp4 or \.gif"):
        check_video(tmp_path / "a.avi", 5)
    for fps in (0, -1, 200, np.nan):
        with pytest.raises(ValueError, match="fps: expected more than 0"):
            check_video(tmp_path / "a.gif", fps)
    with pytest.raises(ValueError, match="at least one frame"):
        Video(tmp_path / "a.gif").close()
    assert not list(tmp_path.iterdir())
