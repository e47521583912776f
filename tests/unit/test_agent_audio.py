"""Audio of an agent between its clock, aiortc's sender and receiver, and its ears."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCRtpSender
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from agents import g711, opus, tracks
from agents.pace import FrameClock
from agents.tone import TONE_LEVEL_DBOV, Listener

PCMU = RTCRtpCodecParameters(mimeType="audio/PCMU", clockRate=8000, payloadType=0)
G722 = RTCRtpCodecParameters(mimeType="audio/G722", clockRate=8000, payloadType=9)
OPUS = RTCRtpCodecParameters(mimeType="audio/opus", clockRate=48000, payloadType=96)


def test_streams_that_share_a_clock_wake_for_each_frame_together() -> None:
    async def count(clock: FrameClock, frames: int) -> list[int]:
        numbers = [clock.current()]
        for _ in range(frames):
            numbers.append(await clock.next_after(numbers[-1]))
        return numbers

    async def play() -> tuple[list[list[int]], int]:
        clock = FrameClock()
        impatient = asyncio.create_task(count(clock, 1000))
        playing = asyncio.gather(*(count(clock, 5) for _ in range(3)))
        await asyncio.sleep(0)
        impatient.cancel()  # what one no longer waits for, the others still get
        return await playing, clock.current()

    numbers, now = asyncio.run(play())
    for mine in numbers:
        assert mine == sorted(set(mine))
        assert mine[-1] <= now + 1


def test_received_audio_is_decoded_by_table_until_the_receiver_ends() -> None:
    heard: list[g711.Samples] = []
    receiver = SimpleNamespace(_RTCRtpReceiver__decoder_queue=None)
    tracks.hear(receiver, heard.append)
    queue = receiver._RTCRtpReceiver__decoder_queue
    assert queue is not None
    payload = g711.encode(np.arange(-80, 80, dtype=np.int16) * 100)
    queue.put((PCMU, SimpleNamespace(data=payload, timestamp=0)))
    queue.put((G722, SimpleNamespace(data=payload, timestamp=160)))
    assert len(heard) == 1
    assert np.array_equal(heard[0], g711.decode(payload))
    queue.put(None)
    assert queue.get() is None


@pytest.mark.parametrize("frequency_hz", [350, 440, 1000, 3000])
def test_a_tone_in_opus_is_heard_at_its_pitch_and_level_however_often_it_goes_round(frequency_hz: int) -> None:
    listener = Listener()
    receiver = SimpleNamespace(_RTCRtpReceiver__decoder_queue=None)
    tracks.hear(receiver, listener.hear)
    frames = opus.tone_frames(frequency_hz)
    assert len(frames) == 50
    for number in range(200):
        packet = SimpleNamespace(data=frames[number % 50], timestamp=number * opus.FRAME_TICKS)
        receiver._RTCRtpReceiver__decoder_queue.put((OPUS, packet))
    assert listener.seconds == 3  # the resampler keeps some samples of the fourth
    heard = listener.tones()
    assert list(heard) == [frequency_hz]
    assert heard[frequency_hz] == pytest.approx(TONE_LEVEL_DBOV, abs=0.5)


def test_a_frame_becomes_the_payload_of_one_packet_at_its_time() -> None:
    async def first_payload() -> tuple[list[bytes], int]:
        track = tracks.EncodedAudioTrack(FrameClock(), lambda number: bytes([number]) * g711.FRAME_SAMPLES)
        sender = SimpleNamespace(_RTCRtpSender__encoder=None)
        tracks.speak(sender)
        packer = sender._RTCRtpSender__encoder
        assert packer is not None
        payloads, timestamp = packer.pack(await track.recv())
        return payloads, timestamp

    payloads, timestamp = asyncio.run(first_payload())
    assert payloads == [bytes([timestamp // g711.FRAME_SAMPLES]) * g711.FRAME_SAMPLES]


def test_aiortc_keeps_encoder_and_decoder_where_we_put_ours() -> None:
    async def look() -> None:
        connection = RTCPeerConnection()
        transceiver = connection.addTransceiver("audio")
        assert RTCRtpSender.getCapabilities("audio").codecs
        tracks.speak(transceiver.sender)
        tracks.hear(transceiver.receiver, lambda samples: None)
        await connection.close()

    asyncio.run(look())
    with pytest.raises(AssertionError, match="elsewhere"):
        tracks.hear(SimpleNamespace(), lambda samples: None)
    with pytest.raises(AssertionError, match="elsewhere"):
        tracks.speak(SimpleNamespace())
